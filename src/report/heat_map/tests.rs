use std::sync::Arc;

use super::*;
use crate::checkpoint::MemoryCheckpoint;
use crate::inspect::{InspectedPart, Inspection, MeasureOptions, Model};
use crate::report::INSPECTED;

fn groups(tensors: &[(String, f32)]) -> Groups<InspectedPart> {
    let mut source = MemoryCheckpoint::new();
    for (name, value) in tensors {
        let values = if value.is_nan() { vec![] } else { vec![*value] };
        source.insert(name, &[values.len()], &values).unwrap();
    }
    let (model, _) = Model::new("model".to_owned(), Arc::new(source), None);
    let options = MeasureOptions { threads: Some(1), ..MeasureOptions::default() };
    Inspection::measure(&model, &options, &|_| {}).unwrap().groups
}

fn draw(groups: &Groups<InspectedPart>, key: &str) -> String {
    let quantity = INSPECTED.iter().find(|quantity| quantity.key == key).unwrap();
    heat_map_svg(groups, quantity, &["a <model>".to_owned()])
}

fn layers(n_layers: usize) -> Vec<(String, f32)> {
    let kinds = ["attn.q", "mlp"];
    let names = (0..n_layers).flat_map(|layer| kinds.map(|kind| format!("h.{layer}.{kind}")));
    let outside = ["wte".to_owned(), "head".to_owned()];
    names.chain(outside).zip(1..).map(|(name, value)| (name, value as f32)).collect()
}

fn count(svg: &str, what: &str) -> usize {
    svg.matches(what).count()
}

#[test]
fn every_cell_has_its_place_and_its_number() {
    for n_layers in [1, 4, 32, 80] {
        let svg = draw(&groups(&layers(n_layers)), "rms");
        // Cells of layers, two rows with their totals and one of totals, two tensors outside.
        assert_eq!(count(&svg, "<title>layer "), 3 * n_layers, "{n_layers} layers");
        assert_eq!(count(&svg, "<title>all layers, "), 2);
        assert!(svg.contains("<title>wte: ") && svg.contains("<title>head: "), "{svg}");
        for label in
            ["attn.q", "mlp", "wte", "head", "layer", "Root mean square", "a &lt;model&gt;"]
        {
            assert!(svg.contains(&format!(">{label}</text>")), "{label} is missing");
        }
        assert!(svg.contains("<title>layer 0, mlp: 2.000</title>"));
        assert!(!svg.contains(">missing</text>"));
    }
}

#[test]
fn norms_of_the_whole_are_not_shown_beside_norms_of_parts() {
    let svg = draw(&groups(&layers(3)), "norm");
    assert_eq!((count(&svg, "<title>layer "), count(&svg, "<title>all layers, ")), (6, 0));
}

#[test]
fn gaps_and_what_has_no_value_are_explained() {
    let mut tensors = layers(3);
    tensors.remove(1);
    tensors[0].1 = f32::NAN;
    let svg = draw(&groups(&tensors), "rms");
    assert!(svg.contains("<title>layer 0, mlp: missing</title>"));
    assert!(svg.contains("<title>layer 0, attn.q: not defined</title>"));
    assert!(svg.contains(">missing</text>") && svg.contains(">not defined</text>"));
}

#[test]
fn models_without_layers_and_with_several_stacks_are_drawn() {
    let svg = draw(&groups(&[("norm".to_owned(), 1.0)]), "rms");
    assert_eq!((count(&svg, "<title>norm: "), count(&svg, "<title>layer ")), (1, 0));
    let tensors = ["text.0.w", "text.1.w", "vision.0.w"].map(|name| (name.to_owned(), 1.0));
    let svg = draw(&groups(&tensors), "max");
    for word in [">text</text>", ">vision</text>", "<title>layer vision.0, w: 1.000</title>"] {
        assert!(svg.contains(word), "{word} is missing");
    }
}
