//! POSIX extended regular expressions (regex(7)), rewritten for PCRE2.
//!
//! What could mean something else there is refused, so a translation never matches differently in silence.

/// What has no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("basic regular expressions are not supported")]
    Basic,
    #[error("nothing to repeat")]
    NothingToRepeat,
    #[error("a bracket without its partner")]
    Bracket,
    #[error("a collating element or equivalence class")]
    Collating,
    #[error("a malformed repetition")]
    Repetition,
    #[error("a backslash at the end")]
    Backslash,
    #[error("a backslash before a letter without a meaning")]
    Escape,
}

/// The same expression for PCRE2.
pub(super) fn translate(pattern: &str) -> Result<String, Unsupported> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Where the open groups begin in the output, and what a repetition would repeat.
    let mut open: Vec<usize> = Vec::new();
    let mut atom: Option<usize> = None;
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        let begin = out.len();
        let mut used = c.len_utf8();
        match c {
            '*' | '+' | '?' | '{' => {
                let start = atom.ok_or(Unsupported::NothingToRepeat)?;
                if repeated {
                    // `a+?` is a repeated repetition here, and not a lazy one.
                    out.insert_str(start, "(?:");
                    out.push(')');
                }
                if c == '{' {
                    used = bound(rest, &mut out)?;
                } else {
                    out.push(c);
                }
                repeated = true;
                rest = &rest[used..];
                continue;
            }
            '(' => {
                out.push('(');
                open.push(begin);
                atom = None;
            }
            ')' if !open.is_empty() => {
                out.push(')');
                atom = open.pop();
            }
            // Without a partner it is an ordinary character.
            ')' => {
                out.push_str(r"\)");
                atom = Some(begin);
            }
            '|' | '^' | '$' => {
                out.push(c);
                atom = None;
            }
            '[' => {
                used = bracket(rest, &mut out)?;
                atom = Some(begin);
            }
            '\\' => {
                let escaped = rest[1..].chars().next().ok_or(Unsupported::Backslash)?;
                used += escaped.len_utf8();
                atom = escape(escaped, &mut out)?.then_some(begin);
            }
            _ => {
                out.push(c);
                atom = Some(begin);
            }
        }
        repeated = false;
        rest = &rest[used..];
    }
    if open.is_empty() { Ok(out) } else { Err(Unsupported::Bracket) }
}

/// `\c`, with the extensions of the GNU library. Whether it stands for something that can be repeated.
fn escape(c: char, out: &mut String) -> Result<bool, Unsupported> {
    let repeatable = match c {
        '<' | '>' | '`' | '\'' => {
            out.push_str(match c {
                '<' => r"\b(?=\w)",
                '>' => r"\b(?<=\w)",
                '`' => r"\A",
                _ => r"\z",
            });
            return Ok(false);
        }
        '1'..='9' => {
            // Fenced, because a digit may follow.
            out.push_str(r"\g{");
            out.push(c);
            out.push('}');
            return Ok(true);
        }
        'b' | 'B' => false,
        'w' | 'W' | 's' | 'S' => true,
        _ if c.is_alphanumeric() => return Err(Unsupported::Escape),
        _ => true,
    };
    out.push('\\');
    out.push(c);
    Ok(repeatable)
}

/// `{n}`, `{n,}`, `{,m}` or `{n,m}` at the start of `text`. Its length.
fn bound(text: &str, out: &mut String) -> Result<usize, Unsupported> {
    let end = text.find('}').ok_or(Unsupported::Repetition)?;
    let (low, high) = match text[1..end].split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (&text[1..end], None),
    };
    let number =
        |text: &str| text.parse::<u16>().is_ok_and(|n| n <= 255 && text.bytes().all(|b| b.is_ascii_digit()));
    let low_is_fine = number(low) || (low.is_empty() && high.is_some_and(|high| !high.is_empty()));
    if !low_is_fine || !high.is_none_or(|high| high.is_empty() || number(high)) {
        return Err(Unsupported::Repetition);
    }
    out.push('{');
    out.push_str(if low.is_empty() { "0" } else { low });
    out.push_str(&text[1 + low.len()..=end]);
    Ok(end + 1)
}

/// A bracket expression at the start of `text`. Its length.
fn bracket(text: &str, out: &mut String) -> Result<usize, Unsupported> {
    let mut at = 1;
    out.push('[');
    if text[at..].starts_with('^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let c = text[at..].chars().next().ok_or(Unsupported::Bracket)?;
        match c {
            ']' if at > first => {
                out.push(']');
                return Ok(at + 1);
            }
            '[' if text[at..].starts_with("[:") => {
                let end = text[at..].find(":]").ok_or(Unsupported::Bracket)? + 2;
                out.push_str(&text[at..at + end]);
                at += end;
                continue;
            }
            '[' if text[at..].starts_with("[.") || text[at..].starts_with("[=") => {
                return Err(Unsupported::Collating);
            }
            // In POSIX a backslash in brackets is itself.
            '\\' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        at += c.len_utf8();
    }
}
