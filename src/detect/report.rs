//! The findings as text, for `backstop detect` and the start of `backstop serve`.

use std::fmt::{Display, Formatter, Result};

use super::{Class, Findings, FoundDomain, Mta};

impl Display for Findings {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for mta in &self.mtas {
            writeln!(f, "{mta}")?;
        }
        for domain in &self.domains {
            self.domain(f, domain)?;
        }
        for network in &self.networks {
            writeln!(f, "trusted network {}: {}", network.value, network.evidence)?;
        }
        for milter in &self.milters {
            let milters = if milter.milters.is_empty() {
                "asks no milter".to_owned()
            } else {
                format!("asks {}", milter.milters.join(", "))
            };
            let away = if milter.when_away.is_empty() { "lets mail pass" } else { &milter.when_away };
            writeln!(f, "{}: {milters}; when it is away: {away}", milter.service)?;
        }
        for why in &self.rewrites {
            writeln!(f, "senders are not what they seem: {why}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for hint in &self.hints {
            writeln!(f, "hint: {}. For backstop.toml, to be filled in:", hint.why)?;
            for line in hint.toml.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

impl Findings {
    fn domain(&self, f: &mut Formatter<'_>, domain: &FoundDomain) -> Result {
        let state = if domain.partial.is_empty() { "all recipients known" } else { "partial, never refused" };
        writeln!(f, "{} {}, {state}: {}", domain.class, domain.pattern, domain.evidence)?;
        for source in domain.sources.iter().filter_map(|id| self.sources.get(id.0)) {
            writeln!(f, "    recipients: {} ({})", source.name, source.evidence.what)?;
        }
        for partial in &domain.partial {
            writeln!(f, "    partial: {partial}")?;
        }
        Ok(())
    }
}

impl Display for Class {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Local => "local domain",
            Self::VirtualAlias => "virtual alias domain",
            Self::VirtualMailbox => "virtual mailbox domain",
            Self::Relay => "relay domain",
        })
    }
}

impl Display for Mta {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Postfix { version, config_directory } => {
                write!(f, "Postfix {version} ({})", config_directory.display())
            }
            Self::Sendmail { version, cf } => {
                write!(
                    f,
                    "Sendmail {} ({})",
                    version.as_deref().unwrap_or("of unknown version"),
                    cf.display()
                )
            }
        }
    }
}
