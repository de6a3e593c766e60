//! Lets libFuzzer call the target that the variable `FUZZ_TARGET` names.

#![no_main]

use std::{env, process::exit, sync::LazyLock};

use fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    *target.unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("fuzz: FUZZ_TARGET must be one of {}", names.join(", "));
        exit(2)
    })
});

libfuzzer_sys::fuzz_target!(init: LazyLock::force(&TARGET), |input: &[u8]| (TARGET.check)(input));
