//! With feature `libfuzzer`: libFuzzer on the target that WOMM_FUZZ_TARGET names. One program for all targets, as most
//! of the time of a build goes into the Kubernetes types. Without: runs a target on files.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod fuzzed {
    use std::sync::OnceLock;

    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

    fn choose() {
        let name = std::env::var("WOMM_FUZZ_TARGET").unwrap_or_default();
        let Some(run) = womm_fuzz::target(&name) else { panic!("WOMM_FUZZ_TARGET is \"{name}\": no such target") };
        let _ = TARGET.set(run);
    }

    libfuzzer_sys::fuzz_target!(init: choose(), |bytes: &[u8]| {
        if let Some(run) = TARGET.get() {
            run(bytes);
        }
    });
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::io::Result<()> {
    use std::io::Error;
    // Its macro is used with the feature only; it is a dependency without it too, so that lints and licences see it.
    use libfuzzer_sys as _;

    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let Some(run) = womm_fuzz::target(&name) else {
        let names: Vec<_> = womm_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        return Err(Error::other(format!("usage: womm-fuzz TARGET FILE...; targets: {}", names.join(" "))));
    };
    for path in words {
        let count = womm_fuzz::replay(run, path.as_ref())?;
        eprintln!("{path}: {count} passed");
    }
    Ok(())
}
