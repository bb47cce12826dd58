//! The tables of keys in docs/configuration.md are made from the code: names, types and meaning from the structs that the
//! configuration is read into and their doc comments, defaults from a configuration that says nothing, and what a reload
//! makes of each key from `config::needs_restart`. This fails where the page says something else. To write it anew:
//!
//!     REWRITE=1 cargo nextest run --test integration -E 'test(reference::)'
//!
//! (That no key is missing in the structs, and what a reload really does: src/daemon/reload/tests.rs.)

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use backstop::config::{Config, needs_restart};
use serde_json::{Value, json};
use syn::{Attribute, Expr, Field, Fields, GenericArgument, Item, Lit, LitStr, PathArguments, Type};

/// Each table of the configuration: its name, and the struct for it. Their place in the page is between
/// `<!-- keys of [NAME] -->` and `<!-- end -->`.
const TABLES: &[(&str, &str, &str)] = &[
    ("", "src/config/mod.rs", "Config"),
    ("domains", "src/directory/config.rs", "Domains"),
    ("recipients", "src/directory/config.rs", "Recipients"),
    ("directory.NAME", "src/directory/config.rs", "Config"),
    ("directory.NAME.file", "src/directory/file/mod.rs", "Config"),
    ("directory.NAME.cache", "src/directory/remote/cache.rs", "Times"),
    ("directory.NAME.replica", "src/directory/replica/config.rs", "Config"),
    ("directory.NAME.ldap", "src/directory/ldap/config.rs", "Config"),
    ("directory.NAME.sql", "src/directory/sql/config.rs", "Config"),
    ("directory.NAME.smtp", "src/directory/smtp/config.rs", "Config"),
    ("suspensions", "src/suspension/mod.rs", "Config"),
    ("client", "src/client/config.rs", "Config"),
    ("client.dynamic", "src/client/dynamic.rs", "Dynamic"),
    ("defence", "src/defence/config.rs", "Config"),
    ("defence.harvest", "src/defence/harvest/config.rs", "Config"),
    ("defence.tarpit", "src/defence/tarpit/mod.rs", "Config"),
    ("defence.greylist", "src/defence/greylist/mod.rs", "Config"),
    ("defence.traps", "src/defence/traps/mod.rs", "Config"),
    ("defence.bounces", "src/defence/bounces/mod.rs", "Config"),
    ("limits", "src/server/config.rs", "Limits"),
    ("monitor", "src/config/mod.rs", "Monitor"),
    ("replies.REASON", "src/policy/reply.rs", "ReplyConfig"),
    ("store", "src/store/config.rs", "Config"),
    ("http", "src/http/config.rs", "Config"),
    ("control", "src/control/config.rs", "Config"),
    ("log", "src/telemetry/log.rs", "Config"),
];

/// What the page calls a type: one of them, and several. Enums that are not here are called by their values.
const TYPES: &[(&str, &str, &str)] = &[
    ("bool", "bool", "bools"),
    ("String", "string", "strings"),
    ("PathBuf", "path", "paths"),
    ("Duration", "duration", "durations"),
    ("u32", "number", "numbers"),
    ("u64", "number", "numbers"),
    ("usize", "number", "numbers"),
    ("f64", "number", "numbers"),
    ("BTreeMap", "table", "tables"),
    ("SocketAddr", "address", "addresses"),
    ("Endpoint", "address", "addresses"),
    ("NameServer", "`\"system\"`, address, address with port", "name servers"),
    ("Network", "network", "networks"),
    ("DnsList", "list in the DNS", "[lists in the DNS](#lists-in-the-dns)"),
    ("Pattern", "name", "names, `/expressions/`, tables"),
    ("DomainPattern", "domain", "domains"),
    ("Reason", "reason", "[reasons](decisions.md#reasons)"),
    ("Place", "URL", "URLs"),
];

/// What has to be said where there is no default.
fn needed() -> Value {
    json!({ "directory": { "NAME": {
        "file": { "path": "" },
        "ldap": { "urls": [], "base": "" },
        "sql": { "url": "", "query": "" },
        "smtp": {},
    } } })
}

#[test]
fn the_tables_of_keys_say_what_the_code_says() {
    let path = root().join("docs/configuration.md");
    let written = read(&path);
    let least: Config = serde_json::from_value(needed()).expect("nothing else is needed");
    let defaults = serde_json::to_value(least).expect("a configuration can be written as JSON");
    let mut made = written.clone();
    let mut filled = 0;
    for &(name, file, of) in TABLES {
        let rows = rows(name, file, of, &defaults);
        if !rows.is_empty() {
            let title = if name.is_empty() { "the top level".to_owned() } else { format!("[{name}]") };
            let table = format!("\n| key | type | default | meaning | |\n|---|---|---|---|---|\n{rows}\n");
            made = fill(&made, &format!("<!-- keys of {title} -->\n"), &table);
            filled += 1;
        }
    }
    assert_eq!(made.matches("<!-- keys of ").count(), filled, "places in the page, and tables with keys");
    if env::var_os("REWRITE").is_some() {
        fs::write(&path, made).expect("it can be written");
        return;
    }
    let difference = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(
        made == written,
        "{} is out of date; to write it anew: REWRITE=1 cargo nextest run --test integration -E 'test(reference::)'\n{difference:#?}",
        path.display()
    );
}

/// The rows of a table; other tables in it are not among them.
fn rows(table: &str, file: &str, of: &str, defaults: &Value) -> String {
    let items = items(&root().join(file));
    let found = items.iter().find_map(|item| match item {
        Item::Struct(found) if found.ident == of => Some(found),
        _ => None,
    });
    let found = found.unwrap_or_else(|| panic!("{file}: no struct {of}"));
    let Fields::Named(fields) = &found.fields else { panic!("{file}: the fields of {of} have no names") };
    let has_defaults = serde(&found.attrs).contains_key("default");
    let mut rows = String::new();
    for field in &fields.named {
        let name = field.ident.as_ref().expect("they are named");
        let key = if table.is_empty() { name.to_string() } else { format!("{table}.{name}") };
        let below = format!("{key}.");
        if TABLES.iter().any(|(other, ..)| *other == key || other.starts_with(&below)) {
            continue;
        }
        let (kind, meaning) = (kind(&field.ty, file, false), meaning(field, &key));
        let default = match default(defaults, &key) {
            _ if !has_defaults && is_needed(field) => "needed".to_owned(),
            Some(value) => format!("`{value}`"),
            None => "–".to_owned(),
        };
        let changed = if needs_restart(&key) { "restart" } else { "reload" };
        writeln!(rows, "| `{name}` | {kind} | {default} | {meaning} | {changed} |").expect("it is text");
    }
    rows
}

/// The doc comment, as one line.
fn meaning(field: &Field, key: &str) -> String {
    let mut lines = Vec::new();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let value = &attribute.meta.require_name_value().expect("it is a comment").value;
        let Expr::Lit(literal) = value else { panic!("{key}: its comment is no text") };
        let Lit::Str(text) = &literal.lit else { panic!("{key}: its comment is no text") };
        lines.push(text.value().trim().to_owned());
    }
    assert!(!lines.is_empty(), "{key} has no doc comment");
    lines.join(" ").replace('|', "\\|")
}

/// What the page calls the type.
fn kind(of: &Type, file: &str, several: bool) -> String {
    let Type::Path(path) = of else { panic!("a key is of a type without a name") };
    let last = path.path.segments.last().expect("a path has a last part");
    let inner = || match &last.arguments {
        PathArguments::AngleBracketed(inner) => match inner.args.first() {
            Some(GenericArgument::Type(inner)) => inner,
            _ => panic!("{}: of what?", last.ident),
        },
        _ => panic!("{}: of what?", last.ident),
    };
    let name = last.ident.to_string();
    match name.as_str() {
        "Option" => kind(inner(), file, several),
        "Vec" => format!("list of {}", kind(inner(), file, true)),
        _ => match TYPES.iter().find(|(known, ..)| *known == name) {
            Some((_, one, many)) => (if several { many } else { one }).to_string(),
            None => values(&name, file),
        },
    }
}

/// The values of the enum of this name that is nearest to the file: in it, in its directory, in the one above, …
fn values(name: &str, file: &str) -> String {
    let path = root().join(file);
    let defines = format!("pub enum {name} {{");
    let near = path.ancestors().take_while(|place| place.starts_with(root().join("src")));
    let mut defined = near.map(|place| {
        let mut files = sources(place);
        files.retain(|file| read(file).contains(&defines));
        files
    });
    let found = defined.find(|files| !files.is_empty()).unwrap_or_default();
    let [found] = &found[..] else { panic!("{name}: add it to TYPES, or to TABLES if it is a table") };
    let items = items(found);
    let found = items.iter().find_map(|item| match item {
        Item::Enum(found) if found.ident == name => Some(found),
        _ => None,
    });
    let found = found.expect("it is there");
    let style = serde(&found.attrs).remove("rename_all").unwrap_or_default();
    let spelled = found.variants.iter().map(|variant| {
        let name = variant.ident.to_string();
        let lower = name.to_lowercase();
        match style.as_str() {
            "lowercase" => format!("`\"{lower}\"`"),
            "kebab-case" => {
                let mut kebab = String::new();
                for (at, letter) in name.char_indices() {
                    if at > 0 && letter.is_uppercase() {
                        kebab.push('-');
                    }
                    kebab.extend(letter.to_lowercase());
                }
                format!("`\"{kebab}\"`")
            }
            style => panic!("{name}: rename_all = {style:?} is not known here"),
        }
    });
    spelled.collect::<Vec<_>>().join(", ")
}

/// Without a default of its own, and no `Option`.
fn is_needed(field: &Field) -> bool {
    let is_option = matches!(&field.ty, Type::Path(path) if path.path.segments[0].ident == "Option");
    !is_option && !serde(&field.attrs).contains_key("default")
}

/// What `#[serde(…)]` says.
fn serde(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let read = attribute.parse_nested_meta(|meta| {
            let value = meta.value().and_then(|value| value.parse::<LitStr>()).map(|value| value.value());
            let name = meta.path.require_ident()?.to_string();
            said.insert(name, value.unwrap_or_default());
            Ok(())
        });
        read.expect("serde reads it");
    }
    said
}

/// As it would be written; `None`: there is none.
fn default(defaults: &Value, key: &str) -> Option<String> {
    match key.split('.').try_fold(defaults, |table, name| table.get(name))? {
        Value::Null => None,
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        value => Some(value.to_string()),
    }
}

/// The page with this text between the mark and the end of its place.
fn fill(page: &str, mark: &str, text: &str) -> String {
    let (before, rest) = page.split_once(mark).unwrap_or_else(|| panic!("the page has no {mark}"));
    let at = rest.find("<!-- end -->").unwrap_or_else(|| panic!("{mark} has no end"));
    format!("{before}{mark}{text}{}", &rest[at..])
}

fn items(path: &Path) -> Vec<Item> {
    syn::parse_file(&read(path)).expect("it is compiled").items
}

/// A file, or those of a directory and all below it.
fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_dir() {
        let entries = fs::read_dir(place).expect("it can be read");
        return entries.flat_map(|entry| sources(&entry.expect("it can be read").path())).collect();
    }
    vec![place.to_owned()]
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
