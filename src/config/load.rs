//! Reads the file and the environment, and checks what only the whole can tell.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    error::{Actual, Kind},
    providers::{Env, Format, Serialized, Toml},
};

use crate::{
    address::DomainPattern,
    client::Enforce,
    control,
    policy::{Replies, ReplyError},
    server::LONGEST_REPLY,
};

use super::{
    Config, Diagnostic, Error,
    error::Place,
    locate::{Part, Source, not_utf8},
};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/backstop/backstop.toml";

/// The configuration, and where each value comes from.
#[derive(Debug)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    pub(super) source: Option<Source>,
}

impl Loaded {
    /// The file that was read; `None` when only defaults and the environment count.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.path.as_path())
    }
}

impl Loaded {
    /// The place of a key, and what is wrong with it.
    #[must_use]
    pub fn diagnose(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        let mut check = Check { source: self.source.as_ref(), found: Vec::new() };
        check.say(&key.split('.').collect::<Vec<_>>(), message);
        check.found.remove(0)
    }
}

/// Reads `path`, or the default file where there is one, then the environment.
///
/// # Errors
/// A file that was named and can't be read, and everything that is wrong in it, each with its place.
pub fn load(path: Option<&Path>) -> Result<Loaded, Error> {
    let source = read(path)?;
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(source) = &source {
        figment = figment.merge(Toml::string(source.text()));
    }
    figment = figment.merge(environment());
    let config: Config = figment.extract().map_err(|error| {
        Error::Invalid(error.into_iter().map(|error| diagnose(&error, source.as_ref())).collect())
    })?;
    let mut check = Check { source: source.as_ref(), found: Vec::new() };
    check.whole(&config);
    if check.found.is_empty() { Ok(Loaded { config, source }) } else { Err(Error::Invalid(check.found)) }
}

/// Where the running server's control socket is. What else the file says does not matter: its mistakes must not keep
/// anybody from asking the server how it is.
///
/// # Errors
/// A file that was named and can't be read, is no TOML, or is wrong in `[control]`.
pub fn load_control(path: Option<&Path>) -> Result<control::Config, Error> {
    control_section(read(path)?)
}

/// As [`load_control`], for those who may trust clients and nothing else: they need not see the file that is read when
/// nobody says otherwise. Then the defaults count.
///
/// # Errors
/// As [`load_control`].
pub fn load_trust(path: Option<&Path>) -> Result<control::Config, Error> {
    match read(path) {
        Err(Error::Read { error, .. })
            if path.is_none() && error.kind() == io::ErrorKind::PermissionDenied =>
        {
            control_section(None)
        }
        source => control_section(source?),
    }
}

fn control_section(source: Option<Source>) -> Result<control::Config, Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(source) = &source {
        figment = figment.merge(Toml::string(source.text()));
    }
    figment.merge(environment()).extract_inner(CONTROL).map_err(|error| {
        let located = error.into_iter().map(|mut error| {
            // figment puts the section behind its keys.
            if error.path.last().is_some_and(|last| last == CONTROL) {
                error.path.rotate_right(1);
            }
            diagnose(&error, source.as_ref())
        });
        Error::Invalid(located.collect())
    })
}

/// `BACKSTOP__HTTP__LISTEN`: the double underscore keeps clear of `BACKSTOP_PORT`, which orchestrators set.
pub(super) fn environment() -> Env {
    Env::prefixed(PREFIX).split("__")
}

pub(super) fn variable(path: &[String]) -> String {
    format!("{PREFIX}{}", path.join("__").to_uppercase())
}

fn read(path: Option<&Path>) -> Result<Option<Source>, Error> {
    let (path, named): (PathBuf, bool) = match path {
        Some(path) => (path.to_owned(), true),
        None => (DEFAULT_PATH.into(), false),
    };
    let bytes = match whole(&path) {
        Ok(bytes) => bytes,
        Err(error) if !named && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Read { path, error }),
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = not_utf8(path.clone(), &error);
        Error::Invalid(vec![Diagnostic { place, message: "not UTF-8, as TOML has to be".to_owned() }])
    })?;
    let parsed = Source::parse(path, text);
    parsed.map(Some).map_err(|(place, message)| Error::Invalid(vec![Diagnostic { place, message }]))
}

/// A file of a sensible size: what is named may be anything, even without an end.
fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= LARGEST) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"))
    }
}

fn diagnose(error: &figment::Error, source: Option<&Source>) -> Diagnostic {
    let mut path = error.path.clone();
    let mut part = Part::Value;
    let message = match &error.kind {
        Kind::UnknownField(key, known) => {
            if path.last() != Some(key) {
                path.push(key.clone());
            }
            part = Part::Key;
            match known {
                [] => format!("unknown key `{key}`"),
                known => format!("unknown key `{key}`; known here: {}", known.join(", ")),
            }
        }
        Kind::MissingField(key) => format!("the key `{key}` is missing"),
        Kind::InvalidType(met, wanted) => format!("found {}, expected {}", found(met), expected(wanted)),
        Kind::InvalidValue(met, wanted) => {
            format!("{} can't be used here, expected {}", found(met), expected(wanted))
        }
        Kind::UnknownVariant(met, known) => format!("`{met}` is not known here; known: {}", known.join(", ")),
        Kind::Message(text) if text.contains(NO_DURATION) => {
            "is no duration; write it like \"500ms\", \"90s\", \"1h 30m\" or \"48h\" (a day is \"24h\")"
                .to_owned()
        }
        kind => kind.to_string(),
    };
    let from_environment =
        error.metadata.as_ref().is_some_and(|metadata| metadata.name.contains("environment"));
    let place = match variable_around(&path) {
        Some(variable) if from_environment || error.metadata.is_none() => Place::Environment(variable),
        _ if from_environment => Place::Environment(variable(&path)),
        _ => place(&path, part, source),
    };
    Diagnostic { place, message }
}

/// What was found, in the words of TOML.
fn found(met: &Actual) -> String {
    match met {
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        Actual::Bool(value) => value.to_string(),
        Actual::Str(text) => format!("the text {text:?}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What a Rust type is called in TOML.
fn expected(wanted: &impl ToString) -> String {
    let wanted = wanted.to_string();
    match wanted.as_str() {
        text if text.starts_with("enum ") => "a text in quotes".to_owned(),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "usize" | "u64" => "a whole number, not negative".to_owned(),
        "f64" => "a number".to_owned(),
        "a sequence" => "a list, such as [\"…\"]".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "path string" => "a path in quotes".to_owned(),
        "an unsigned duration string" => "a duration in quotes, such as \"3s\"".to_owned(),
        other if other.starts_with("struct ") || other == "a map" => "a table".to_owned(),
        _ => wanted,
    }
}

/// The place of a key, or of the nearest table around it that is written down.
fn place(path: &[String], part: Part, source: Option<&Source>) -> Place {
    let Some(source) = source else { return Place::Key(path.join(".")) };
    if let Some(place) = source.find(path, part) {
        return place;
    }
    (1..path.len())
        .rev()
        .find_map(|length| source.find(path.get(..length)?, Part::Key))
        .unwrap_or_else(|| Place::Key(path.join(".")))
}

/// The variable that sets this key, or a list or table around it.
fn variable_around(path: &[String]) -> Option<String> {
    (1..=path.len()).rev().filter_map(|length| path.get(..length)).map(variable).find(|variable| {
        std::env::vars_os()
            .any(|(name, _)| name.to_str().is_some_and(|name| name.eq_ignore_ascii_case(variable)))
    })
}

/// What contradicts itself, or names what can't be read.
struct Check<'s> {
    source: Option<&'s Source>,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn whole(&mut self, config: &Config) {
        if config.listen.is_empty() {
            self.say(&["listen"], "is empty: no MTA could connect");
        }
        if config.limits.sessions == 0 {
            self.say(&["limits", "sessions"], "0 sessions would serve nobody");
        }
        let lookup = config.limits.lookup;
        if lookup.is_zero() || lookup > MOST_LOOKUP {
            let message = format!(
                "must be more than 0 and at most {MOST_LOOKUP:?}: Sendmail gives up waiting for an answer after 10 s"
            );
            self.say(&["limits", "lookup"], message);
        }
        self.domains(&config.domains.names, &["domains", "names"]);
        self.domains(&config.recipients.catch_all, &["recipients", "catch_all"]);
        for (index, path) in config.domains.files.iter().enumerate() {
            self.readable(path, &["domains", "files", &index.to_string()]);
        }
        for (index, path) in config.suspensions.files.iter().enumerate() {
            self.readable(path, &["suspensions", "files", &index.to_string()]);
        }
        for (index, path) in config.defence.traps.files.iter().enumerate() {
            self.readable(path, &["defence", "traps", "files", &index.to_string()]);
        }
        for (name, directory) in &config.directory {
            self.domains(directory.domains.as_deref().unwrap_or_default(), &["directory", name, "domains"]);
            if let Some(file) = &directory.file {
                self.readable(&file.path, &["directory", name, "file", "path"]);
            }
            directory.check(&mut |key, message| {
                let mut path = vec!["directory", name];
                path.extend(key);
                self.say(&path, message);
            });
            if let Some((kind, deadline)) = directory.deadline()
                && deadline > lookup
            {
                let message =
                    format!("{deadline:?} is longer than limits.lookup ({lookup:?}), which ends it before");
                self.say(&["directory", name, kind, "deadline"], message);
            }
            if directory.domains.is_none()
                && config.domains.names.is_empty()
                && config.domains.files.is_empty()
            {
                let message =
                    "is in charge of no domain: list its `domains`, or [domains] `names` or `files`";
                self.say(&["directory", name], message);
            }
        }
        for (key, index, path) in config.client.files() {
            let index = index.to_string();
            let key: Vec<&str> = ["client"].iter().chain(key).copied().chain([index.as_str()]).collect();
            self.readable(path, &key);
        }
        config.client.check(&mut |key, message| {
            let mut path = vec!["client"];
            path.extend(key);
            self.say(&path, message);
        });
        let (enforce, deadline) = (config.client.dynamic.enforce, config.client.dynamic.deadline);
        if enforce != Enforce::Off && lookup <= MOST_LOOKUP && lookup + deadline > MOST_LOOKUP {
            let message = format!(
                "together with limits.lookup ({lookup:?}) it must be at most {MOST_LOOKUP:?}: Sendmail gives up waiting for \
                 an answer after 10 s"
            );
            self.say(&["client", "dynamic", "deadline"], message);
        }
        config.defence.check(&config.recipients.exempt(), &mut |key, message| {
            let mut path = vec!["defence"];
            path.extend(key);
            self.say(&path, message);
        });
        config.store.check(&mut |key, message| self.say(&["store", key], message));
        config.log.check(&mut |key, message| self.say(&["log", key], message));
        let tarpit = &config.defence.tarpit;
        if tarpit.enabled && lookup + tarpit.max > MOST_LOOKUP {
            let message = format!(
                "together with limits.lookup ({lookup:?}) it must be at most {MOST_LOOKUP:?}: Sendmail gives up waiting for \
                 an answer after 10 s"
            );
            self.say(&["defence", "tarpit", "max"], message);
        }
        config.http.check(&mut |key, message| {
            let mut path = vec!["http"];
            path.extend(key);
            self.say(&path, message);
        });
        config.control.check(&mut |key, message| self.say(&["control", key], message));
        for (index, local) in config.recipients.exempt.iter().enumerate() {
            if local.contains('@') || local.is_empty() {
                self.say(
                    &["recipients", "exempt", &index.to_string()],
                    "must be a local part, such as abuse, without a domain",
                );
            }
        }
        for (index, reason) in config.monitor.reasons.iter().enumerate() {
            if Replies::default().of(*reason).is_none() {
                let message = format!("{reason} refuses nothing, so there is nothing to watch");
                self.say(&["monitor", "reasons", &index.to_string()], message);
            }
        }
        if let Err((reason, error)) = Replies::build(&config.replies) {
            let key = match error {
                ReplyError::Text => "text",
                ReplyError::NoReply(_) => "",
                _ => "code",
            };
            let path = ["replies", reason.as_str(), key];
            self.say(path.get(..if key.is_empty() { 2 } else { 3 }).unwrap_or(&path), error.to_string());
        }
    }

    fn domains(&mut self, names: &[String], key: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            if let Err(error) = DomainPattern::parse(name) {
                let index = index.to_string();
                let key: Vec<&str> = key.iter().copied().chain([index.as_str()]).collect();
                self.say(&key, format!("{name:?} is not a domain: {error}"));
            }
        }
    }

    fn readable(&mut self, file: &Path, key: &[&str]) {
        let opened = fs::File::open(file).and_then(|file| file.metadata());
        match opened {
            Ok(found) if found.is_file() => {}
            Ok(_) => self.say(key, format!("{} is not a file", file.display())),
            Err(error) => self.say(key, format!("{}: {error}", file.display())),
        }
    }

    fn say(&mut self, key: &[&str], message: impl Into<String>) {
        let path: Vec<String> = key.iter().map(|&segment| segment.to_owned()).collect();
        let place = match variable_around(&path) {
            Some(variable) => Place::Environment(variable),
            None => place(&path, Part::Value, self.source),
        };
        self.found.push(Diagnostic { place, message: message.into() });
    }
}

const CONTROL: &str = "control";
/// Long lists have files of their own.
const LARGEST: u64 = 4 * 1024 * 1024;
const PREFIX: &str = "BACKSTOP__";
/// What the parser of durations says of any text that is none.
const NO_DURATION: &str = "the \"friendly\" duration format";

/// Nothing may take up all that one answer has.
const MOST_LOOKUP: Duration = LONGEST_REPLY;
