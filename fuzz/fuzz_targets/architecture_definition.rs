//! An architecture definition either is refused with a message or names its tensors.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mergekit::architecture::ArchitectureDefinition;

fuzz_target!(|text: &str| {
    let Ok(definition) = ArchitectureDefinition::parse(text, Path::new("definition.json")) else {
        return;
    };
    for module in definition.modules.values() {
        for (location, tensor) in module.tensors(2) {
            let _ = tensor.names_for(location, 2);
        }
    }
});
