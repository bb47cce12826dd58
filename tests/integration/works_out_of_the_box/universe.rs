//! Addresses to ask about: every local part that a configuration knows, with all its spellings, and some that nobody has.

/// The universe for these local parts and domains.
pub(super) fn addresses(locals: &[&str], domains: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = locals.iter().chain(&EVERYWHERE).map(|local| (*local).to_owned()).collect();
    let known = names.len();
    names.extend(invented(12));
    let mut addresses = Vec::new();
    for (at, name) in names.iter().enumerate() {
        // What nobody has needs not be asked for in every domain.
        let one = domains.get(at % domains.len().max(1)..).and_then(|rest| rest.get(..1)).unwrap_or_default();
        let domains = if at < known { domains } else { one };
        for local in spellings(name, domains) {
            for domain in domains {
                addresses.push(format!("{local}@{domain}"));
            }
            addresses.push(format!("{local}@localhost"));
        }
        for domain in domains {
            for written in
                [domain.to_uppercase(), format!("{domain}."), format!("sub.{domain}"), format!("x{domain}")]
            {
                addresses.push(format!("{name}@{written}"));
            }
            addresses.push(format!("@relay.test:{name}@{domain}"));
            addresses.push(format!("@{domain}:{name}@{domain}"));
        }
        addresses.push(name.clone());
    }
    addresses
}

/// How one local part may be written, and what looks like it.
fn spellings(name: &str, domains: &[&str]) -> Vec<String> {
    let mut spellings = vec![
        name.to_owned(),
        name.to_uppercase(),
        format!("\"{name}\""),
        format!("owner-{name}"),
        format!("{name}-request"),
        format!("{name}."),
        format!(".{name}"),
        format!("x{name}"),
        format!("{name}x"),
        format!("\"{name} \""),
        format!("\\{name}"),
        format!("\"{name}@elsewhere.test\""),
        format!("{name}%elsewhere.test"),
        format!("elsewhere.test!{name}"),
        format!("SRS0=AbCd=EF=elsewhere.test={name}"),
        format!("prvs=0123456789={name}"),
    ];
    for delimiter in ['+', '-', '_', '=', '.'] {
        spellings.push(format!("{name}{delimiter}ext"));
        spellings.push(format!("{name}{delimiter}"));
        spellings.push(format!("{delimiter}{name}"));
        spellings.push(format!("{name}{delimiter}a+b-c{delimiter}d"));
    }
    for domain in domains {
        spellings.push(format!("{name}%{domain}"));
        spellings.push(format!("{domain}!{name}"));
        spellings.push(format!("\"{name}@{domain}\""));
        spellings.push(format!("{name}+x%{domain}"));
    }
    spellings
}

/// Local parts from a generator that always gives the same ones.
fn invented(count: u32) -> impl Iterator<Item = String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..count).map(move |_| {
        let mut name = String::new();
        for _ in 0..=state % 7 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            name.push(ALPHABET[usize::try_from(state >> 33).expect("31 bits") % ALPHABET.len()]);
        }
        name
    })
}

const ALPHABET: [char; 14] = ['a', 'b', 'e', 'i', 'n', 'o', 'r', 't', '-', '+', '_', '0', '7', 'ü'];

const EVERYWHERE: [&str; 18] = [
    "root",
    "daemon",
    "nobody",
    "postmaster",
    "abuse",
    "mailer-daemon",
    "double-bounce",
    "nosuchuser",
    "info",
    "joe",
    "a..b",
    "a b",
    // not addresses, but an MTA may make one of them
    "root(c)",
    "a,root",
    "a:root",
    "a;root",
    "a::root",
    "jürgen",
];
