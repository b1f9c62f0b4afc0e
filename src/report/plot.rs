//! The convergence plot: every candidate's score, the best so far, and what it has to beat.
//!
//! Colours are Okabe and Ito's, which people with any colour vision tell apart; lines differ in their
//! dashes too.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use super::short_names;
use crate::search::{Reference, Results, Role};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 540;

/// Room for the legend, right of the chart.
const LEGEND: u32 = 230;

/// Most labels on the horizontal axis.
const MOST_TICKS: usize = 11;

/// Distance between two lines of the legend.
const LEGEND_STEP: i32 = 26;

const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const SKY: RGBColor = RGBColor(0x56, 0xB4, 0xE9);
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xE4, 0xE4, 0xE4);

/// For parents, in order. When there are more the colours repeat, with other dashes.
const PARENTS: [RGBColor; 5] = [
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x77, 0x77, 0x77),
];

/// Lengths of dash and gap, so that lines can be told apart without colour.
const DASHES: [(u32, u32); 4] = [(10, 4), (4, 4), (16, 6), (2, 4)];

/// The plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the convergence plot: {0}")]
pub struct PlotError(String);

/// Draws the convergence of a search as SVG. A search without a scored candidate gives an empty chart
/// with the references.
pub fn convergence_svg(results: &Results) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        draw(&root, results).map_err(|error| PlotError(error.to_string()))?;
        root.present().map_err(|error| PlotError(error.to_string()))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, results: &Results) -> Drawn {
    root.fill(&WHITE)?;
    let lines = reference_lines(&results.references);
    let points: Vec<(f64, f64)> = results
        .history
        .iter()
        .filter_map(|evaluation| Some(((evaluation.index + 1) as f64, evaluation.score()?)))
        .collect();
    let failed: Vec<f64> = results
        .history
        .iter()
        .filter(|evaluation| evaluation.score().is_none())
        .map(|evaluation| (evaluation.index + 1) as f64)
        .collect();
    let last = results.history.last().map_or(1.0, |evaluation| (evaluation.index + 1) as f64);
    let end = last + 1.0;
    let (low, high) =
        range(points.iter().map(|point| point.1).chain(lines.iter().map(|l| l.score)));

    let (left, legend) = root.split_horizontally(WIDTH - LEGEND);
    let mut chart = ChartBuilder::on(&left)
        .margin(18)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(EvaluationAxis { end }, low..high)?;
    let decimals = decimals(high - low);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(MOST_TICKS)
        .y_labels(8)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .x_desc("evaluations")
        .y_desc("score on search items")
        .label_style(("sans-serif", 15).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 17).into_font().color(&INK))
        .draw()?;
    for line in &lines {
        let ends = [(0.0, line.score), (end, line.score)];
        let (size, spacing) = line.dashes;
        chart.draw_series(DashedLineSeries::new(
            ends,
            size,
            spacing,
            line.color.stroke_width(2),
        ))?;
    }
    chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, SKY.mix(0.75).filled())))?;
    chart.draw_series(failed.iter().map(|&x| Cross::new((x, low), 4, INK.stroke_width(1))))?;
    chart.draw_series(LineSeries::new(staircase(&points, end), BLUE.stroke_width(3)))?;
    draw_legend(&legend, &lines, !failed.is_empty())
}

/// A score to compare with.
struct ReferenceLine {
    name: String,
    score: f64,
    color: RGBColor,
    dashes: (u32, u32),
}

fn reference_lines(references: &[Reference]) -> Vec<ReferenceLine> {
    let mut parents = 0;
    let mut lines = Vec::new();
    for (reference, name) in references.iter().zip(short_names(references)) {
        let (color, dashes) = match reference.role {
            Role::Winner => continue,
            Role::UniformAverage => (INK, (6, 3)),
            Role::Parent => {
                let (round, place) = (parents / PARENTS.len(), parents % PARENTS.len());
                parents += 1;
                (PARENTS[place], DASHES[(place + round) % DASHES.len()])
            }
        };
        if let Some(scores) = &reference.search {
            lines.push(ReferenceLine { name, score: scores.score, color, dashes });
        }
    }
    lines
}

/// The values' range with some air around it.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = if high > low { 0.06 * (high - low) } else { 0.5 };
    (low - air, high + air)
}

/// The horizontal axis, from 0 to `end`, with marks at whole numbers only.
struct EvaluationAxis {
    end: f64,
}

impl Ranged for EvaluationAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        left + (value / self.end * f64::from(right - left)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        ticks(self.end)
    }

    fn range(&self) -> Range<f64> {
        0.0..self.end
    }
}

/// Whole numbers from 0 to `end` at a round distance.
fn ticks(end: f64) -> Vec<f64> {
    let mut steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let step = steps.find(|step| end / step < MOST_TICKS as f64).unwrap_or(end);
    (0..MOST_TICKS).map(|tick| tick as f64 * step).take_while(|&tick| tick <= end).collect()
}

/// Decimals that tell about eight values within a range apart.
fn decimals(range: f64) -> usize {
    (1.0 - range.log10().floor()).clamp(2.0, 9.0) as usize
}

/// The best score so far as a line that rises in steps, up to `end`: it holds until the next
/// evaluation.
fn staircase(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for &(x, score) in points {
        match corners.last() {
            Some(&(_, best)) if score <= best => {}
            Some(&(_, best)) => corners.extend([(x, best), (x, score)]),
            None => corners.push((x, score)),
        }
    }
    if let Some(&(_, best)) = corners.last() {
        corners.push((end, best));
    }
    corners
}

/// Key to the signs, from the top.
fn draw_legend(area: &Area<'_>, lines: &[ReferenceLine], failures: bool) -> Drawn {
    let text = ("sans-serif", 15).into_font().color(&INK);
    let mut y = 34;
    let mut label = |name: &str| -> Result<i32, Box<dyn std::error::Error>> {
        area.draw(&Text::new(shorten(name), (44, y - 8), text.clone()))?;
        y += LEGEND_STEP;
        Ok(y - LEGEND_STEP)
    };
    let y = label("best so far")?;
    area.draw(&PathElement::new([(0, y), (34, y)], BLUE.stroke_width(3)))?;
    let y = label("candidate")?;
    area.draw(&Circle::new((17, y), 4, SKY.mix(0.75).filled()))?;
    if failures {
        let y = label("failed candidate")?;
        area.draw(&Cross::new((17, y), 4, INK.stroke_width(1)))?;
    }
    for line in lines {
        let y = label(&line.name)?;
        let (size, gap) = (line.dashes.0 as i32, line.dashes.1 as i32);
        let mut x = 0;
        while x < 34 {
            let end = (x + size).min(34);
            area.draw(&PathElement::new([(x, y), (end, y)], line.color.stroke_width(2)))?;
            x = end + gap;
        }
    }
    Ok(())
}

/// A name that fits into the legend.
fn shorten(name: &str) -> String {
    const MOST: usize = 24;
    let length = name.chars().count();
    if length <= MOST {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(length - MOST + 1).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn the_plot_names_what_it_shows() {
        let mut results = samples::results();
        results.history[5].scores = None;
        let svg = convergence_svg(&results).unwrap();
        for word in [
            "evaluations",
            "score on search items",
            "best so far",
            "candidate",
            "adder",
            "sorter",
            "uniform average",
            "failed candidate",
        ] {
            assert!(svg.contains(word), "{word} is missing");
        }
        if let Ok(path) = std::env::var("MERGEKIT_TEST_PLOT") {
            std::fs::write(path, svg).unwrap();
        }
    }

    #[test]
    fn the_best_so_far_never_falls() {
        let corners = staircase(&[(1.0, 0.5), (2.0, 0.25), (4.0, 0.75)], 6.0);
        assert_eq!(corners, [(1.0, 0.5), (4.0, 0.5), (4.0, 0.75), (6.0, 0.75)]);
    }

    #[test]
    fn evaluations_are_counted_in_whole_numbers() {
        assert_eq!(ticks(2.0), [0.0, 1.0, 2.0]);
        assert_eq!(ticks(11.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            ticks(201.0),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0]
        );
        assert_eq!(ticks(100_001.0).len(), 11);
    }

    #[test]
    fn one_evaluation_has_a_line_of_its_best_score() {
        assert_eq!(staircase(&[(1.0, 0.5)], 2.0), [(1.0, 0.5), (2.0, 0.5)]);
    }

    #[test]
    fn an_empty_search_is_an_empty_chart() {
        let mut results = samples::results();
        results.history.clear();
        results.references.clear();
        assert!(convergence_svg(&results).unwrap().contains("evaluations"));
    }
}
