//! The screen of the demo: moving lines on a terminal, a line per change elsewhere.

use crate::demo::view::Row;
use damocles_types::{Epoch, SectorId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

/// Without a terminal a step that takes long is told again so often, as a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Draws rows as they change.
#[derive(Debug)]
pub struct Screen {
    started: Instant,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Terminal {
        all: MultiProgress,
        chain: ProgressBar,
        sectors: BTreeMap<SectorId, ProgressBar>,
    },
    Lines {
        last: BTreeMap<SectorId, Said>,
    },
}

/// What was last said of a sector, and when.
#[derive(Debug)]
struct Said {
    stage: String,
    note: String,
    at: Duration,
}

impl Said {
    fn of(row: &Row, at: Duration) -> Self {
        Self {
            stage: row.stage.clone(),
            // seconds and countdowns move; they make no new step
            note: without_numbers(&row.note),
            at,
        }
    }

    /// Whether `now` is worth a line: another step, or the same for long.
    fn is_news(&self, now: &Self) -> bool {
        (&self.stage, &self.note) != (&now.stage, &now.note)
            || now.at.saturating_sub(self.at) >= SIGN_OF_LIFE
    }
}

impl Screen {
    pub fn new() -> Self {
        let kind = if stdout().is_terminal() {
            let all = MultiProgress::new();
            let chain = spinner(&all);
            Kind::Terminal {
                all,
                chain,
                sectors: BTreeMap::new(),
            }
        } else {
            Kind::Lines {
                last: BTreeMap::new(),
            }
        };
        Self {
            started: Instant::now(),
            kind,
        }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        let line = format!("[{}] {text}", clock(self.started.elapsed()));
        match &self.kind {
            Kind::Terminal { all, .. } => all.suspend(|| println!("{line}")),
            Kind::Lines { .. } => println!("{line}"),
        }
    }

    /// Shows where everything stands.
    pub fn show(&mut self, epoch: Epoch, rows: &[Row]) {
        match &mut self.kind {
            Kind::Terminal {
                all,
                chain,
                sectors,
            } => {
                chain.set_message(format!("{}  epoch {epoch}", clock(self.started.elapsed())));
                for row in rows {
                    let bar = sectors.entry(row.sector).or_insert_with(|| spinner(all));
                    bar.set_message(line(row));
                }
            }
            Kind::Lines { last } => {
                for row in rows {
                    let now = Said::of(row, self.started.elapsed());
                    if last.get(&row.sector).is_none_or(|said| said.is_news(&now)) {
                        println!("[{}] {}", clock(now.at), line(row));
                        last.insert(row.sector, now);
                    }
                }
            }
        }
    }

    /// Takes the moving lines away.
    pub fn clear(&self) {
        if let Kind::Terminal { all, .. } = &self.kind {
            // a terminal that is gone needs no clearing
            let _ = all.clear();
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

fn spinner(all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn line(row: &Row) -> String {
    let elapsed = row.elapsed.map(clock).unwrap_or_default();
    format!(
        "{:<12} {:<16} {elapsed:>6}  {}",
        row.sector, row.stage, row.note
    )
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// `mm:ss`
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_stage_time_and_note() {
        let row = Row {
            sector: SectorId::new(1000, 1),
            stage: "C2".into(),
            elapsed: Some(Duration::from_secs(75)),
            note: "computes in ext(pid: 7)".into(),
        };
        let text = line(&row);
        assert!(text.starts_with("s-t01000-1   C2 "), "{text}");
        assert!(text.contains(" 01:15  computes"), "{text}");
        assert_eq!(without_numbers("opens in 12 epochs"), "opens in  epochs");
    }

    #[test]
    fn a_long_step_gives_a_sign_of_life_and_a_short_one_is_said_once() {
        let said = |stage: &str, note: &str, at| {
            let row = Row {
                sector: SectorId::new(1000, 1),
                stage: stage.into(),
                elapsed: None,
                note: note.into(),
            };
            Said::of(&row, Duration::from_secs(at))
        };
        let first = said("C2", "computes in ext(pid: 7)", 10);
        assert!(!first.is_news(&said("C2", "computes in ext(pid: 7)", 24)));
        assert!(first.is_news(&said("C2", "computes in ext(pid: 7)", 25)));
        assert!(first.is_news(&said("SubmitProof", "at work", 11)));
        let active = said("active", "opens in 12 epochs", 10);
        assert!(!active.is_news(&said("active", "opens in 9 epochs", 12)));
    }
}
