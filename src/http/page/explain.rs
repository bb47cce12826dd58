//! The form that explains an address, and the answer, in the words of `backstop check`.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use maud::{Markup, html};
use url::form_urlencoded;

use crate::{
    control::message::{Check, Checked},
    http::Shown,
    policy::{Reason, Trace},
    readable::safe,
};

use super::{
    eyes::{Eyes, said},
    words,
};

/// What somebody wrote into the form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form {
    values: HashMap<&'static str, String>,
}

/// A field: its name in the URL, what it is called, an example, and whether it has to be filled in.
const FIELDS: [(&str, &str, &str); 4] = [
    ("address", "Address", "anna@example.com"),
    ("client", "Client's IP address", "203.0.113.7"),
    ("helo", "It calls itself (HELO)", "mail.example.net"),
    ("from", "Sender (<> for a bounce)", "joe@example.net"),
];

/// What is wrong with a field, in words.
pub(super) type Wrong = (&'static str, String);

/// What stands below the form.
pub(super) enum Answer {
    /// Nothing was asked.
    None,
    /// The fields were filled by a link from elsewhere: whoever reads this has to press the button.
    Linked,
    Wrong(Vec<Wrong>),
    /// Too often, or it takes too long; after how long to come again.
    Later(Duration),
    Checked(Box<Checked>),
}

impl Form {
    /// The fields of a URL's query; what we do not know is left out.
    pub(super) fn read(query: &str) -> Self {
        let known =
            |name: &str| FIELDS.into_iter().find(|(field, ..)| *field == name).map(|(field, ..)| field);
        let values = form_urlencoded::parse(query.as_bytes());
        let values = values.filter_map(|(name, value)| Some((known(&name)?, value.trim().to_owned())));
        Self { values: values.collect() }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.values.contains_key("address")
    }

    fn value(&self, field: &str) -> &str {
        self.values.get(field).map_or("", String::as_str)
    }

    fn given(&self, field: &str) -> Option<String> {
        Some(self.value(field)).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// What is asked.
    ///
    /// # Errors
    /// What is wrong, by field.
    pub(super) fn check(&self) -> Result<Check, Vec<Wrong>> {
        let mut wrong = Vec::new();
        for (field, ..) in FIELDS {
            if self.value(field).len() > LONGEST {
                wrong.push((field, format!("is longer than {LONGEST} bytes")));
            }
        }
        if self.value("address").is_empty() {
            wrong.push(("address", "is missing: write an address, such as anna@example.com".to_owned()));
        }
        let client: Option<Result<IpAddr, _>> = self.given("client").map(|client| client.parse());
        if let Some(Err(_)) = client {
            wrong.push(("client", "is no IP address, such as 203.0.113.7 or 2001:db8::7".to_owned()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Check {
            address: self.value("address").to_owned(),
            client: client.and_then(Result::ok),
            helo: self.given("helo"),
            from: self.given("from"),
            ..Check::default()
        })
    }

    /// The form with its answer.
    pub(super) fn show(&self, answer: &Answer, addresses: Shown) -> Markup {
        let wrong = |field: &str| match answer {
            Answer::Wrong(wrong) => {
                wrong.iter().find(|(name, _)| *name == field).map(|(_, why)| why.as_str())
            }
            _ => None,
        };
        html! {
            section #explain {
                h2 { "Explain an address" }
                p.hint { "Says what would become of a recipient, and why, as " code { "backstop check" } " does. Nothing is remembered of it." }
                form method="get" action="/#explain" {
                    @for (field, name, example) in FIELDS {
                        @let why = wrong(field);
                        @let told = format!("{field}-wrong");
                        div.field {
                            label for=(field) { (name) }
                            input id=(field) name=(field) value=(safe(self.value(field))) placeholder=(example)
                                autocomplete="off" autocapitalize="off" spellcheck="false" maxlength=(LONGEST) required[field == "address"]
                                aria-invalid=[why.map(|_| "true")] aria-describedby=[why.map(|_| &told)];
                            @if let Some(why) = why { p.wrong id=(told) { (name) " " (why) "." } }
                        }
                    }
                    button type="submit" { "Explain" }
                }
                (self.answer(answer, addresses))
            }
        }
    }

    fn answer(&self, answer: &Answer, addresses: Shown) -> Markup {
        let own: Vec<&str> = self.values.values().map(String::as_str).collect();
        let eyes = Eyes { addresses, own: &own };
        match answer {
            Answer::None | Answer::Wrong(_) => html! {},
            Answer::Linked => html! {
                p.answer role="status" { "A link on another site filled this in. Press " b { "Explain" } " to ask." }
            },
            Answer::Later(after) => html! {
                p.answer.wrong role="status" {
                    "Too much was asked at once. Ask again in " (after.as_secs().max(1)) " s."
                }
            },
            Answer::Checked(checked) => html! {
                div #answer .answer role="status" {
                    p.verdict {
                        (words::outcome(words::verdict(&checked.verdict), checked.enforced)) " "
                        (said(&checked.address)) ": "
                        @match &checked.reply { Some(reply) => { code { (eyes.line(reply)) } } None => { "no objection" } }
                    }
                    p { "Reason: " (reason(&checked.reason)) }
                    @if !checked.enforced && checked.reply.is_some() { p { b { "Monitor mode:" } " it would pass all the same." } }
                    (steps(&checked.steps, eyes))
                    @for note in &checked.notes { p.note { "Note: " (eyes.line(note)) } }
                }
            },
        }
    }
}

/// A reason's link with its name in words.
fn reason(name: &str) -> Markup {
    match name.parse::<Reason>() {
        Ok(reason) => html! { (words::link(reason)) ", " (words::of(reason).0) },
        Err(_) => said(name),
    }
}

/// What was asked, and what was answered, in order.
pub(super) fn steps(trace: &Trace, eyes: Eyes<'_>) -> Markup {
    html! {
        ol.steps {
            @for step in &trace.0 {
                li {
                    b { (step.question) }
                    @if !step.about.is_empty() { " " (eyes.line(&step.about)) }
                    ": " (eyes.line(&step.answer))
                    @if step.micros > 0 { " " span.took { "(" (step.micros) " µs)" } }
                    @if !step.evidence.is_empty() {
                        ul { @for line in &step.evidence { li { (eyes.line(line)) } } }
                    }
                }
            }
        }
    }
}

/// Longer than any address (RFC 5321 §4.5.3.1.3) or name.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_read() {
        let form = Form::read("address=+anna%40example.test+&client=192.0.2.1&x=y&from=%3C%3E&helo=");
        let check = form.check().unwrap();
        assert_eq!(check.address, "anna@example.test");
        assert_eq!(check.client, Some("192.0.2.1".parse().unwrap()));
        assert_eq!((check.from.as_deref(), check.helo, check.name), (Some("<>"), None, None));
        assert!(form.is_asked() && !Form::read("since=day").is_asked());
    }

    #[test]
    fn what_is_wrong_is_said_beside_the_field() {
        let long = format!("address={}", "x".repeat(LONGEST + 1));
        for (query, fields) in [
            ("address=", &["address"][..]),
            ("address=a&client=example.test", &["client"]),
            ("address=&client=1.2.3", &["address", "client"]),
            (&long, &["address"]),
        ] {
            let form = Form::read(query);
            let wrong = form.check().unwrap_err();
            assert_eq!(wrong.iter().map(|(field, _)| *field).collect::<Vec<_>>(), fields, "{query}");
            let page = form.show(&Answer::Wrong(wrong), Shown::Masked).0;
            for field in fields {
                assert!(page.contains(&format!("aria-describedby=\"{field}-wrong\"")), "{page}");
                assert!(page.contains(&format!("id=\"{field}-wrong\"")), "{page}");
            }
        }
    }
}
