//! Every input that is kept goes through its target once more.

use std::{collections::BTreeSet, fs, path::Path};

use backstop_fuzz::{TARGETS, unpack};

#[test]
fn kept_inputs_break_no_promise() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let names = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = TARGETS.iter().map(|target| target.name.to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.collect::<BTreeSet<_>>(), "a corpus for each target");
    for target in TARGETS {
        let inputs = unpack(&fs::read_to_string(dir.join(target.name)).unwrap()).unwrap();
        assert!(inputs.len() >= 10, "{} has {} inputs", target.name, inputs.len());
        for input in inputs {
            println!("{}: {}", target.name, input.escape_ascii());
            (target.run)(&input);
        }
    }
}
