//! Figures of many runs, and those of the reference to compare them with.

use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What one algorithm reaches on one problem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) suite: String,
    #[serde(rename = "fn")]
    pub(crate) function: String,
    pub(crate) d: usize,
    #[serde(rename = "algo")]
    pub(crate) algorithm: String,
    pub(crate) metric: String,
    /// At how many evaluations, or for which target.
    pub(crate) at: String,
    pub(crate) runs: usize,
    /// Share of the runs that have a value.
    pub(crate) success: f64,
    pub(crate) q25: Option<f64>,
    pub(crate) median: Option<f64>,
    pub(crate) q75: Option<f64>,
}

/// A problem and what is measured on it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) suite: &'static str,
    pub(crate) function: String,
    pub(crate) d: usize,
}

impl Problem {
    /// The figure of runs, of which those without success have no value.
    pub(crate) fn figure(
        &self,
        algorithm: &str,
        metric: &str,
        at: &str,
        runs: &[Option<f64>],
    ) -> Figure {
        let mut values: Vec<f64> = runs.iter().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        Figure {
            suite: self.suite.to_owned(),
            function: self.function.clone(),
            d: self.d,
            algorithm: algorithm.to_owned(),
            metric: metric.to_owned(),
            at: at.to_owned(),
            runs: runs.len(),
            success: values.len() as f64 / runs.len() as f64,
            q25: quantile(&values, 0.25),
            median: quantile(&values, 0.5),
            q75: quantile(&values, 0.75),
        }
    }
}

/// Of sorted values, with linear interpolation.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below]))
}

/// Figures of pycma 4.5, cmaes 0.13 and pymoo 0.6.
pub(crate) struct Reference(Vec<Figure>);

impl Reference {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text: &[u8] = include_bytes!("reference.csv");
        let figures = csv::Reader::from_reader(text).deserialize().collect::<Result<_, _>>()?;
        Ok(Self(figures))
    }

    /// The reference's figures of the same problem, metric and point.
    pub(crate) fn of<'a>(&'a self, figure: &'a Figure) -> impl Iterator<Item = &'a Figure> {
        self.0.iter().filter(move |other| {
            other.suite == figure.suite
                && other.function == figure.function
                && other.d == figure.d
                && other.metric == figure.metric
                && other.at == figure.at
        })
    }
}

/// Whether larger values of a metric are better.
pub(crate) fn higher_is_better(metric: &str) -> bool {
    matches!(metric, "best_measured" | "mean" | "hypervolume_archive")
}

/// A number with four digits.
pub(crate) fn short(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if !(1e-3..1e7).contains(&value.abs()) => format!("{value:.2e}"),
        Some(value) => {
            let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 4);
            format!("{value:.*}", digits as usize)
        }
    }
}

/// Writes figures as CSV, those of the same suite replaced.
pub(crate) fn write(path: &Path, figures: &[Figure]) -> Result<(), Box<dyn Error>> {
    let mut all: Vec<Figure> = match csv::Reader::from_path(path) {
        Ok(mut reader) => reader.deserialize().collect::<Result<_, _>>()?,
        Err(_) => Vec::new(),
    };
    all.retain(|old| !figures.iter().any(|new| new.suite == old.suite));
    all.extend_from_slice(figures);
    all.sort_by(|a, b| {
        let key = |f: &Figure| {
            let at = f.at.parse::<f64>().unwrap_or_default();
            (
                f.suite.clone(),
                f.function.clone(),
                f.d,
                f.metric.clone(),
                at.to_bits(),
                f.algorithm.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let mut writer = csv::Writer::from_path(path)?;
    for figure in all {
        writer.serialize(figure)?;
    }
    Ok(writer.flush()?)
}
