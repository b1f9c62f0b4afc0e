//! A quantity of every layer and kind of tensor, as colours.
//!
//! Layers from left to right, kinds from top to bottom, with a column for whole kinds and a row for
//! whole layers where these compare; tensors outside of the layers have rows of their own below.

use super::color_scale::ColorScale;
use super::quantity::Quantity;
use super::svg::{Anchor, PALE_INK, Style, Svg, text_width};
use crate::inspect::Groups;

const MARGIN: f64 = 24.0;
const CELL_HEIGHT: f64 = 26.0;
/// Of white between cells.
const GAP: f64 = 1.0;
/// Between groups of cells.
const GROUP_GAP: f64 = 10.0;
/// Widths that cells of layers may have, so that few layers are readable and many fit on a screen.
const CELL_WIDTHS: (f64, f64) = (12.0, 56.0);
/// What the cells of all layers take together, within those limits.
const GRID_WIDTH: f64 = 1000.0;
/// From this width on a cell shows its number.
const NUMBER_WIDTH: f64 = 44.0;
/// Least distance between two numbers of layers.
const LABEL_DISTANCE: f64 = 24.0;
const BAR_WIDTH: f64 = 16.0;
/// For the marks beside the colour bar.
const MARKS_WIDTH: f64 = 80.0;
const LEAST_BAR_HEIGHT: f64 = 140.0;
const MOST_BAR_HEIGHT: f64 = 300.0;

const LABEL: f64 = 13.0;
const SMALL: f64 = 11.0;

/// What is drawn where no tensor is, and where the quantity has no value.
const MISSING: &str = "url(#missing)";
const UNDEFINED: &str = "#D9D9D9";
/// All colours of the scale.
const SCALE: &str = "url(#scale)";

/// Draws `quantity` of every part in `groups` as SVG. `models` says what was measured.
pub fn heat_map_svg<T>(groups: &Groups<T>, quantity: &Quantity<T>, models: &[String]) -> String {
    let outside = || groups.before.iter().chain(&groups.after);
    // Tensors outside of the layers are of another nature, and few: they must not take the contrast
    // from the others. Their numbers are written in their cells.
    let value = |part| (quantity.value)(part);
    let scale = match groups.cells.is_empty() {
        true => {
            let values = outside().filter_map(|(_, part)| value(part));
            ColorScale::for_values(values, quantity.form, quantity.center)
        }
        false => {
            let values = groups.cells.values().filter_map(value);
            ColorScale::for_values(values, quantity.form, quantity.center)
        }
    };
    let mut map =
        HeatMap { svg: Svg::new(), quantity, scale, has_missing: false, has_undefined: false };
    map.define_fills();

    let n_layers = groups.layers.len();
    let cell = (GRID_WIDTH / n_layers.max(1) as f64).floor().clamp(CELL_WIDTHS.0, CELL_WIDTHS.1);
    let total_width = cell.max(NUMBER_WIDTH + 8.0);
    let has_totals = !quantity.is_additive && n_layers > 0;
    let labels = groups.by_kind().map(|(kind, _)| text_width(kind, LABEL)).fold(64.0, f64::max);
    let left = MARGIN + labels + 10.0;

    // Layers stand in stacks, which a gap separates.
    let mut columns = Vec::with_capacity(n_layers);
    let mut x = left;
    let mut stack: Option<&str> = None;
    for layer in groups.layers.keys() {
        if stack.is_some_and(|stack| stack != layer.stack) {
            x += GROUP_GAP;
        }
        stack = Some(&layer.stack);
        columns.push(x);
        x += cell;
    }
    let totals_left = x + GROUP_GAP;
    let right = match (n_layers > 0, has_totals) {
        (true, true) => totals_left + total_width,
        (true, false) => x,
        (false, _) => left + total_width,
    };
    let bar_left = right + 32.0;
    let heading = map.bar_heading();
    let marks_width = MARKS_WIDTH.max(text_width(&heading, SMALL) - BAR_WIDTH);
    let width = (bar_left + BAR_WIDTH + marks_width + MARGIN)
        .max(2.0 * MARGIN + text_width(quantity.title, 18.0));

    let mut y = map.draw_title(models, width);
    let top = y;
    if has_totals {
        map.svg.text(
            (totals_left + total_width / 2.0, y - 6.0),
            Style::new(SMALL, Anchor::Middle).fill(PALE_INK),
            "all",
        );
    }
    for (kind_index, (kind, total)) in groups.kinds.iter().enumerate() {
        map.draw_label(left, y, kind);
        for (layer_index, layer) in groups.layers.keys().enumerate() {
            let part = groups.cells.get(&(layer_index, kind_index));
            let hover = format!("layer {}, {kind}", groups.layer_name(layer));
            map.draw_cell((columns[layer_index], y), cell, part, &hover);
        }
        if has_totals {
            map.draw_cell(
                (totals_left, y),
                total_width,
                Some(total),
                &format!("all layers, {kind}"),
            );
        }
        y += CELL_HEIGHT;
    }
    if has_totals {
        y += GROUP_GAP;
        map.draw_label(left, y, "all");
        for (&x, (layer, part)) in columns.iter().zip(&groups.layers) {
            let hover = format!("layer {}, all kinds", groups.layer_name(layer));
            map.draw_cell((x, y), cell, Some(part), &hover);
        }
        y += CELL_HEIGHT;
    }
    if n_layers > 0 {
        y = map.draw_layer_numbers(groups, &columns, cell, y);
    }
    if groups.before.len() + groups.after.len() > 0 {
        y += if n_layers > 0 { 2.0 * GROUP_GAP } else { 0.0 };
        for (kind, part) in outside() {
            map.draw_label(left, y, kind);
            map.draw_cell((left, y), total_width, Some(part), kind);
            y += CELL_HEIGHT;
        }
    }
    let bar_height = (y - top).clamp(LEAST_BAR_HEIGHT, MOST_BAR_HEIGHT);
    map.draw_bar((bar_left, top), bar_height, &heading);
    let bottom = map.draw_key((bar_left, top + bar_height + 22.0), y);
    map.svg.finish(width.ceil(), (bottom + MARGIN).ceil())
}

/// A drawing that is being made.
struct HeatMap<'q, T: 'static> {
    svg: Svg,
    quantity: &'q Quantity<T>,
    scale: ColorScale,
    has_missing: bool,
    has_undefined: bool,
}

impl<T> HeatMap<'_, T> {
    /// What [`MISSING`] and [`SCALE`] refer to.
    fn define_fills(&mut self) {
        let stops = self.scale.stops().map(|(position, color)| {
            format!("<stop offset=\"{position:.4}\" stop-color=\"{color}\"/>")
        });
        let stops: String = stops.collect();
        self.svg.definitions(&format!(
            "<pattern id=\"missing\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#F4F4F4\"/>\
             <rect width=\"1.5\" height=\"6\" fill=\"#C4C4C4\"/></pattern>\n\
             <linearGradient id=\"scale\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">{stops}</linearGradient>"
        ));
    }

    /// What is shown of which models. Returns where the cells begin.
    fn draw_title(&mut self, models: &[String], width: f64) -> f64 {
        let mut y = MARGIN + 16.0;
        let style = Style::new(18.0, Anchor::Start).bold();
        self.svg.text((MARGIN, y), style, self.quantity.title);
        let line = models.join("  ·  ");
        let fits = text_width(&line, LABEL) <= width - 2.0 * MARGIN;
        let lines = if fits { std::slice::from_ref(&line) } else { models };
        for line in lines {
            y += 20.0;
            self.svg.text((MARGIN, y), Style::new(LABEL, Anchor::Start).fill(PALE_INK), line);
        }
        y + 34.0
    }

    /// What a row shows, to the left of it.
    fn draw_label(&mut self, left: f64, y: f64, text: &str) {
        let place = (left - 10.0, y + CELL_HEIGHT / 2.0 + 4.0);
        self.svg.text(place, Style::new(LABEL, Anchor::End), text);
    }

    fn draw_cell(&mut self, (x, y): (f64, f64), width: f64, part: Option<&T>, hover: &str) {
        let value = part.and_then(|part| (self.quantity.value)(part));
        let (fill, is_dark, said) = match (part, value) {
            (None, _) => {
                self.has_missing = true;
                (MISSING.to_owned(), false, "missing".to_owned())
            }
            (Some(_), None) => {
                self.has_undefined = true;
                (UNDEFINED.to_owned(), false, "not defined".to_owned())
            }
            (Some(_), Some(value)) => {
                let (color, is_dark) = self.scale.color(value);
                (color, is_dark, self.quantity.form.text(value))
            }
        };
        let size = (width - GAP, CELL_HEIGHT - GAP);
        self.svg.rectangle((x, y), size, &fill, &format!("{hover}: {said}"));
        if let Some(value) = value.filter(|_| width >= NUMBER_WIDTH) {
            let ink = if is_dark { "#FFFFFF" } else { super::svg::INK };
            let place = (x + (width - GAP) / 2.0, y + CELL_HEIGHT / 2.0 + 3.5);
            let text = self.quantity.form.short_text(value, self.scale.largest());
            self.svg.text(place, Style::new(SMALL, Anchor::Middle).fill(ink), &text);
        }
    }

    /// The numbers of layers below their columns, as many as there is room for, and the names of
    /// stacks where there are several. Returns where they end.
    fn draw_layer_numbers(
        &mut self,
        groups: &Groups<T>,
        columns: &[f64],
        cell: f64,
        y: f64,
    ) -> f64 {
        let steps = [1, 2, 4, 5, 10, 20, 50, 100, 200, 500, 1000];
        let step = steps.into_iter().find(|&step| step as f64 * cell >= LABEL_DISTANCE);
        let step = step.unwrap_or(5000);
        let style = Style::new(SMALL, Anchor::Middle);
        let mut stack = None;
        for (&x, layer) in columns.iter().zip(groups.layers.keys()) {
            if layer.index % step == 0 {
                let place = (x + (cell - GAP) / 2.0, y + 15.0);
                self.svg.text(place, style, &layer.index.to_string());
            }
            if stack.replace(&layer.stack) != Some(&layer.stack) {
                let name = match groups.has_several_stacks() {
                    true => layer.stack.as_str(),
                    false => "layer",
                };
                let style = Style::new(SMALL, Anchor::Start).fill(PALE_INK);
                self.svg.text((x, y + 31.0), style, name);
            }
        }
        y + 36.0
    }

    fn bar_heading(&self) -> String {
        let unit = if self.quantity.form == super::Form::Share { ", %" } else { "" };
        let scale = if self.scale.is_logarithmic() { ", log scale" } else { "" };
        format!("{}{unit}{scale}", self.quantity.heading)
    }

    /// The colour bar with its marks.
    fn draw_bar(&mut self, (x, y): (f64, f64), height: f64, heading: &str) {
        let style = Style::new(SMALL, Anchor::Start).fill(PALE_INK);
        self.svg.text((x, y - 8.0), style, heading);
        self.svg.rectangle((x, y), (BAR_WIDTH, height), SCALE, "");
        for (value, text) in self.scale.marks(self.quantity.form) {
            let place = y + height * (1.0 - self.scale.position(value));
            self.svg.line((x + BAR_WIDTH, place), (x + BAR_WIDTH + 4.0, place));
            let style = Style::new(SMALL, Anchor::Start);
            self.svg.text((x + BAR_WIDTH + 8.0, place + 4.0), style, &text);
        }
    }

    /// What cells without a number mean, as far as there are any. Returns where the drawing ends, at
    /// least `bottom`.
    fn draw_key(&mut self, (x, mut y): (f64, f64), bottom: f64) -> f64 {
        for (any, fill, text) in
            [(self.has_missing, MISSING, "missing"), (self.has_undefined, UNDEFINED, "not defined")]
        {
            if any {
                self.svg.rectangle((x, y), (BAR_WIDTH, BAR_WIDTH), fill, "");
                let place = (x + BAR_WIDTH + 8.0, y + 12.0);
                self.svg.text(place, Style::new(SMALL, Anchor::Start), text);
                y += 24.0;
            }
        }
        bottom.max(y - 22.0)
    }
}

#[cfg(test)]
mod tests;
