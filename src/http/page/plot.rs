//! Decisions by the minute, as bars. Each outcome has a row of its own, with its own scale that is written beside it: what
//! is told by place and words needs no colour. The same as numbers stands below.

use std::fmt::Write;

use maud::{Markup, html};

use crate::{history::Minute, readable::clock};

use super::number;

/// What becomes of mail, as the rows of the plot.
const ROWS: [(&str, &str); 4] =
    [("refused", "refused"), ("put off", "deferred"), ("only watched", "watched"), ("passed", "passed")];

/// The last hours; the minutes are the oldest first, without gaps.
pub(super) fn plot(minutes: &[Minute]) -> Markup {
    let rows: Vec<[u64; 4]> = minutes.iter().map(counts).collect();
    let of = |row: usize| -> Vec<u64> { rows.iter().map(|counts| counts[row]).collect() };
    let at = |index: usize| minutes.get(index).map_or(String::new(), |minute| hours_minutes(minute.at));
    html! {
        div.plot {
            @for (row, (name, class)) in ROWS.into_iter().enumerate() {
                @let counts = of(row);
                @let most = counts.iter().copied().max().unwrap_or(0);
                @let peak = counts.iter().rposition(|count| *count == most).unwrap_or(0);
                @let sum: u64 = counts.iter().sum();
                @let last = last_whole(&counts);
                div.row {
                    div.what { b { (name) } " " span.sum { (number(sum)) } }
                    svg.bars viewBox=(format!("0 0 {} {HEIGHT}", minutes.len().max(1) * WIDTH)) preserveAspectRatio="none" role="img"
                        aria-label=(format!(
                            "{name}: {sum} in three hours, {last} in the last whole minute, at most {most} a minute, at {}", at(peak)
                        ))
                    {
                        path.base d=(known(minutes)) {}
                        path class=(class) d=(bars(&counts, most)) {}
                    }
                    div.scale {
                        @if most > 0 { (number(most)) "/min at " (at(peak)) br; (number(last)) " in the last minute" }
                        @else { "none" }
                    }
                }
            }
            div.row.times aria-hidden="true" {
                div {}
                div { @for third in 0..=3 { span { (at((minutes.len().saturating_sub(1)) * third / 3)) } } }
                div {}
            }
        }
        @if minutes.first().is_some_and(|minute| minute.seconds == 0) {
            p.hint { "Where there is no line below the bars the server did not run, or forgot." }
        }
        details #numbers {
            summary #numbers-open { "As numbers" }
            (table(minutes, &rows))
        }
    }
}

fn table(minutes: &[Minute], rows: &[[u64; 4]]) -> Markup {
    let quarters = rows.rchunks(QUARTER).zip(minutes.rchunks(QUARTER));
    html! {
        table.numbers {
            caption { "By quarters of an hour, the newest first" }
            thead { tr { th scope="col" { "from" } @for (name, _) in ROWS { th.n scope="col" { (name) } } } }
            tbody {
                @for (counts, minutes) in quarters {
                    tr {
                        th scope="row" { (minutes.first().map_or(String::new(), |minute| hours_minutes(minute.at))) }
                        @for row in 0..ROWS.len() {
                            td.n { (number(counts.iter().map(|counts| counts[row]).sum())) }
                        }
                    }
                }
            }
        }
    }
}

/// By the rows of the plot.
fn counts(minute: &Minute) -> [u64; 4] {
    [minute.refused, minute.deferred, minute.watched, minute.passed]
}

/// One path for all bars: a shape of one colour.
fn bars(counts: &[u64], most: u64) -> String {
    let mut path = String::new();
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // What is there at all is seen.
        let height = (count * HEIGHT).div_ceil(most.max(1)).max(2);
        let _ = write!(path, "M{} {HEIGHT}v-{height}h{BAR}v{height}z", at * WIDTH);
    }
    path
}

/// A line below the minutes in which the server ran: where it is missing, nothing is known.
fn known(minutes: &[Minute]) -> String {
    let known = minutes.iter().enumerate().filter(|(_, minute)| minute.seconds > 0);
    known.map(|(at, _)| format!("M{} {HEIGHT}h{WIDTH}", at * WIDTH)).collect()
}

/// The last is under way.
fn last_whole(counts: &[u64]) -> u64 {
    counts.iter().rev().nth(1).copied().unwrap_or(0)
}

fn hours_minutes(at: u64) -> String {
    clock(at).get(..5).unwrap_or_default().to_owned()
}

const WIDTH: usize = 4;
const BAR: usize = 3;
const HEIGHT: u64 = 40;
const QUARTER: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_counts() {
        assert_eq!(bars(&[], 0), "");
        assert_eq!(bars(&[0, 0], 0), "");
        assert_eq!(bars(&[0, 5, 10], 10), "M4 40v-20h3v20zM8 40v-40h3v40z");
        assert_eq!(bars(&[1, 1_000_000], 1_000_000), "M0 40v-2h3v2zM4 40v-40h3v40z", "one is seen, too");
    }

    #[test]
    fn what_is_drawn_is_told_in_words() {
        let minutes: Vec<Minute> = (0..180)
            .map(|at| Minute { at: at * 60, seconds: 60, passed: at, refused: 1, ..Minute::default() })
            .collect();
        let shown = plot(&minutes).0;
        assert_eq!(shown.matches("role=\"img\"").count(), 4);
        for words in [
            "refused: 180 in three hours, 1 in the last whole minute, at most 1 a minute",
            "passed: 16110 in three hours, 178 in the last whole minute, at most 179 a minute",
            "put off: 0 in three hours",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        // 12 quarters of an hour, the last one first
        assert_eq!(shown.matches("<th scope=\"row\">").count(), 12);
        assert!(shown.contains("<td class=\"n\">2,580</td>"), "{shown}");
        let _ = (plot(&[]), plot(&minutes[..1]));
    }
}
