//! How often each method reads its inputs, held against the table in `docs/performance.md`.

#[path = "../benches/kernels/setting.rs"]
mod setting;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use mergekit::methods::METHODS;
use setting::{SHAPE, Setting};

/// The statistics column of the table, by method.
fn documented() -> HashMap<&'static str, f64> {
    let text = include_str!("../docs/performance.md");
    let (_, table) = text.split_once("<!-- passes -->").expect("the page marks the table");
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let mut passes = HashMap::new();
    for row in cells {
        let number = row[2].parse().expect("the second column is a number");
        passes.extend(row[1].split(", ").map(|method| (method.trim_matches('`'), number)));
    }
    passes
}

#[test]
fn statistics_read_the_inputs_as_often_as_documented() {
    let documented = documented();
    for definition in METHODS.iter() {
        let setting = Setting::new(definition);
        setting.method.prepare(&setting.whole()).expect("inputs are numbers");
        let read = setting.reader.read.load(Ordering::Relaxed);
        let passes = read as f64 / (SHAPE.iter().product::<usize>() * setting.operands()) as f64;
        let stated = documented.get(definition.name).copied();
        let stated = stated.unwrap_or_else(|| panic!("{} is not in the table", definition.name));
        // Samples, and looking for the last of equal magnitudes, read small parts again.
        assert!(
            passes <= stated + 0.25 && passes > stated - 0.5,
            "{} reads its inputs {passes} times, not {stated}",
            definition.name
        );
        // What plans go by.
        let says = setting.method.statistics_passes() as f64;
        assert_eq!(says, stated, "{} says of itself", definition.name);
    }
}
