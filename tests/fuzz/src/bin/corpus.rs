//! `corpus list`; `corpus unpack TARGET DIR`: an input a file; `corpus pack TARGET DIR`: the other way.

use std::{env, error::Error, fs, path::Path, process::ExitCode};

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
    let file = |target: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    match *arguments {
        ["list"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["unpack", target, dir] => {
            let inputs = unpack(&fs::read_to_string(file(target))?);
            let inputs = inputs.map_err(|line| format!("{}:{line}: no input", file(target).display()))?;
            fs::create_dir_all(dir)?;
            for (number, input) in inputs.iter().enumerate() {
                fs::write(Path::new(dir).join(format!("kept-{number}")), input)?;
            }
        }
        ["pack", target, dir] => {
            let inputs = fs::read_dir(dir)?.map(|entry| fs::read(entry?.path()));
            fs::write(file(target), pack(inputs.collect::<Result<Vec<_>, _>>()?))?;
        }
        _ => return Err("corpus list | unpack TARGET DIR | pack TARGET DIR".into()),
    }
    Ok(())
}
