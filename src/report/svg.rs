//! Shapes and text as SVG, with a text for each shape that browsers show under the pointer.

use std::fmt::Write;

/// Of text.
pub(super) const INK: &str = "#222222";
/// Of text that explains.
pub(super) const PALE_INK: &str = "#666666";

/// A drawing.
pub(super) struct Svg {
    body: String,
}

/// On which side of its place a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f64,
    pub(super) anchor: Anchor,
    pub(super) fill: &'static str,
    pub(super) bold: bool,
}

impl Style {
    pub(super) fn new(size: f64, anchor: Anchor) -> Self {
        Self { size, anchor, fill: INK, bold: false }
    }

    pub(super) fn fill(self, fill: &'static str) -> Self {
        Self { fill, ..self }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

impl Svg {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    /// Definitions that shapes refer to, as SVG.
    pub(super) fn definitions(&mut self, definitions: &str) {
        let _ = writeln!(self.body, "<defs>{definitions}</defs>");
    }

    pub(super) fn rectangle(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        fill: &str,
        hover: &str,
    ) {
        let _ = write!(
            self.body,
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}""#
        );
        let _ = match hover.is_empty() {
            true => writeln!(self.body, "/>"),
            false => writeln!(self.body, "><title>{}</title></rect>", escaped(hover)),
        };
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}"/>"#
        );
    }

    /// Text whose baseline is at `y`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), style: Style, text: &str) {
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if style.bold { r#" font-weight="bold""# } else { "" };
        let _ = writeln!(
            self.body,
            r#"<text x="{x}" y="{y}" font-size="{}" text-anchor="{anchor}" fill="{}"{weight}>{}</text>"#,
            style.size,
            style.fill,
            escaped(text)
        );
    }

    /// The whole file, on a white ground.
    pub(super) fn finish(self, width: f64, height: f64) -> String {
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">
<rect width="{width}" height="{height}" fill="#FFFFFF"/>
{}</svg>
"##,
            self.body
        )
    }
}

/// Roughly how wide text is in a sans-serif font, on the wide side.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    (text.chars().count() as f64 * size * 0.56).ceil()
}

/// Text as XML. Control characters, which XML cannot hold, are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_file() {
        let mut svg = Svg::new();
        svg.text((1.0, 2.0), Style::new(12.0, Anchor::End), "a<b>&\u{1}c");
        svg.rectangle((0.0, 0.0), (1.0, 1.0), "#FFFFFF", "</title>");
        let text = svg.finish(3.0, 4.0);
        assert!(text.contains(">a&lt;b&gt;&amp;c</text>"), "{text}");
        assert!(text.contains("<title>&lt;/title&gt;</title>"), "{text}");
    }
}
