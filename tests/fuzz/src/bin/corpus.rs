//! `corpus list`; `corpus unpack TARGET DIR`: an input a file, those that once broke something too; `corpus pack TARGET DIR`: the
//! other way, without these.

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use backstop_fuzz::{TARGETS, pack, unpack};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match *arguments {
        ["list"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["unpack", target, dir] => {
            fs::create_dir_all(dir)?;
            for (name, file) in [("kept", corpus(target)), ("broke", regressions(target))] {
                for (number, input) in inputs(&file)?.iter().enumerate() {
                    fs::write(Path::new(dir).join(format!("{name}-{number}")), input)?;
                }
            }
        }
        ["pack", target, dir] => {
            let found = fs::read_dir(dir)?.map(|entry| fs::read(entry?.path()));
            let mut found = found.collect::<Result<BTreeSet<_>, _>>()?;
            for input in inputs(&regressions(target))? {
                found.remove(&input);
            }
            fs::write(corpus(target), pack(found))?;
        }
        _ => return Err("corpus list | unpack TARGET DIR | pack TARGET DIR".into()),
    }
    Ok(())
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Only people write it.
fn regressions(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target)
}

/// None where there is no such file.
fn inputs(file: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let text = if file.exists() { fs::read_to_string(file)? } else { String::new() };
    unpack(&text).map_err(|line| format!("{}:{line}: no input", file.display()).into())
}
