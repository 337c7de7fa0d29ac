//! What is inside an artifact: a ZIP file that may be a wheel, and a JSON text that may be a bill of
//! materials. Both are read before anybody looked at them closely, so whatever they claim, what comes out is
//! short, plain and in order, and nothing larger is held in memory than was promised.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use manifests::inside::{Component, of_cyclonedx, of_wheel};

fn check(found: &[Component]) {
    assert!(found.len() <= 10_000);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "in order and each once");
    for component in found {
        for text in [&component.name, &component.version] {
            assert!((1..=200).contains(&text.len()), "{text:?}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let found = of_wheel(&mut Cursor::new(data)).expect("memory is always readable");
    check(&found);
    // Whatever lies before the archive moves its offsets, and is no reason to fail.
    let moved = [b"#!/bin/sh\n", data].concat();
    check(&of_wheel(&mut Cursor::new(moved)).expect("memory is always readable"));
    check(&of_cyclonedx(data));
});
