//! Every input that is kept goes through its target once more, and so does every one that once broke a promise.

use std::{collections::BTreeSet, fs, path::Path};

use backstop_fuzz::{TARGETS, Target, target, unpack};

#[test]
fn kept_inputs_break_no_promise() {
    let expected = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("corpus"), expected, "a corpus for each target");
    for target in TARGETS {
        let count = replay("corpus", target);
        assert!(count >= 10, "{} has {count} inputs", target.name);
    }
}

#[test]
fn what_was_mended_stays_so() {
    for name in names("regressions") {
        let target = target(&name).unwrap_or_else(|| panic!("{name} is no target"));
        assert!(replay("regressions", &target) > 0, "{name} has no inputs");
    }
}

/// What the files in a directory of this crate are called.
fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).expect(dir);
    entries.map(|entry| entry.expect(dir).file_name().into_string().expect("a name of a target")).collect()
}

/// How many inputs there are.
fn replay(dir: &str, target: &Target) -> usize {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).join(target.name);
    let inputs = unpack(&fs::read_to_string(file).expect("a readable file")).expect("one input a line");
    for input in &inputs {
        println!("{}: {}", target.name, input.escape_ascii());
        (target.run)(input);
    }
    inputs.len()
}
