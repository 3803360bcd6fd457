//! Where a sector stands, in words: made of what manager, worker and chain say. Pure.

use damocles_api::{
    sector::SectorState,
    timeline::TimelineEntry,
    worker::{ThreadInfo, ThreadState},
};
use damocles_node::{
    DeadlineInfo, SectorLocation,
    devnet::{MessageRecord, PostRecord},
};
use damocles_types::{Epoch, SectorId};
use std::time::Duration;

/// What the chain says of a sector.
#[derive(Clone, Debug, Default)]
pub struct OnChain {
    pub precommit: Option<MessageRecord>,
    pub commit: Option<MessageRecord>,
    /// Epoch from which the sector counts.
    pub activation: Option<Epoch>,
    pub location: Option<SectorLocation>,
    /// The first accepted WindowPoSt that covers it.
    pub post: Option<PostRecord>,
}

/// Everything known of a sector at one moment.
#[derive(Clone, Debug)]
pub struct Sector {
    pub state: SectorState,
    pub timeline: Vec<TimelineEntry>,
    /// The sealing thread that works on it, while one does.
    pub thread: Option<ThreadInfo>,
    pub chain: OnChain,
}

/// A line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub sector: SectorId,
    /// The stage, `active` or `proven`.
    pub stage: String,
    /// How long it has been there.
    pub elapsed: Option<Duration>,
    /// What it does or waits for.
    pub note: String,
}

impl Sector {
    pub fn id(&self) -> SectorId {
        self.state.id
    }

    /// Active on chain, and covered by an accepted WindowPoSt.
    pub fn is_proven(&self) -> bool {
        self.chain.activation.is_some() && self.chain.post.is_some()
    }

    /// For so many epochs nothing is to be done for it; None: for ever.
    pub fn rests_for(&self, deadline: &DeadlineInfo) -> Option<Epoch> {
        if self.is_proven() {
            return None;
        }
        let place = self.chain.activation.and(self.chain.location);
        Some(
            place
                .and_then(|place| opens_in(place, deadline))
                .unwrap_or(0),
        )
    }

    /// Why it will not go on by itself, if so.
    pub fn trouble(&self) -> Option<String> {
        if !self.state.abort_reason.is_empty() {
            return Some(format!("given up: {}", self.state.abort_reason));
        }
        let thread = self.thread.as_ref()?;
        let paused = matches!(thread.thread_state, ThreadState::Paused { .. });
        let error = thread.last_error.as_ref().filter(|_| paused)?;
        let hint = thread.hint.as_ref().map(|hint| format!("; hint: {hint}"));
        Some(format!(
            "stopped in {}: {error}{}",
            thread.job_state,
            hint.unwrap_or_default()
        ))
    }

    /// The line of the screen, given the miner's deadline.
    pub fn row(&self, deadline: &DeadlineInfo) -> Row {
        let row = |stage: &str, elapsed, note| Row {
            sector: self.id(),
            stage: stage.to_owned(),
            elapsed,
            note,
        };
        if let (Some(_), Some(post)) = (self.chain.activation, &self.chain.post) {
            let note = format!(
                "WindowPoSt accepted: deadline {}, partition {}, epoch {}",
                post.deadline, post.partition, post.epoch
            );
            return row("proven", None, note);
        }
        if let Some((epoch, place)) = self.chain.activation.zip(self.chain.location) {
            let note = format!("since epoch {epoch}; {}", until_proven(place, deadline));
            return row("active", None, note);
        }
        let Some(thread) = &self.thread else {
            return row("-", None, "between two steps".to_owned());
        };
        let stage = thread.job_stage.as_deref().unwrap_or("-");
        let (elapsed, note) = match &thread.thread_state {
            ThreadState::Running { elapsed, proc } => match proc {
                Some(proc) => (Some(*elapsed), format!("computes in {proc}")),
                None => (Some(*elapsed), "at work".to_owned()),
            },
            ThreadState::Waiting { elapsed } => {
                let what = thread.waiting_for.as_deref().unwrap_or("its turn");
                (Some(*elapsed), format!("waits for {what}"))
            }
            ThreadState::Paused { elapsed } => {
                let why = thread.last_error.as_deref().unwrap_or("an operator");
                (Some(*elapsed), format!("paused: {why}"))
            }
            ThreadState::Idle => (None, String::new()),
        };
        row(stage, elapsed.map(Duration::from_secs), note)
    }
}

/// In how many epochs the sector's deadline opens next; None: it is open.
fn opens_in(place: SectorLocation, now: &DeadlineInfo) -> Option<Epoch> {
    let ahead = (place.deadline + now.wpost_period_deadlines - now.index)
        % now.wpost_period_deadlines.max(1);
    let opens = now.open + ahead as Epoch * now.wpost_challenge_window;
    (ahead > 0).then(|| opens - now.current_epoch)
}

/// When the deadline of an active sector opens next.
fn until_proven(place: SectorLocation, now: &DeadlineInfo) -> String {
    let deadline = place.deadline;
    match opens_in(place, now) {
        Some(epochs) => format!("deadline {deadline} opens in {epochs} epochs"),
        None => format!(
            "deadline {deadline} is open for {} more epochs, waits for its WindowPoSt",
            now.close - now.current_epoch
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cid::Cid;

    fn deadline(index: u64, current: Epoch) -> DeadlineInfo {
        DeadlineInfo {
            current_epoch: current,
            period_start: 0,
            index,
            open: index as Epoch * 20,
            close: (index as Epoch + 1) * 20,
            challenge: index as Epoch * 20 - 6,
            fault_cutoff: 0,
            wpost_period_deadlines: 4,
            wpost_proving_period: 80,
            wpost_challenge_window: 20,
            wpost_challenge_lookback: 6,
            fault_declaration_cutoff: 22,
        }
    }

    fn sector(thread_state: ThreadState) -> Sector {
        let state = serde_json::from_str(r#"{"ID":{"Miner":1000,"Number":1},"SectorType":5}"#);
        Sector {
            state: state.unwrap(),
            timeline: Vec::new(),
            thread: Some(ThreadInfo {
                location: "/s".into(),
                plan: "sealer".into(),
                job_id: Some("s-t01000-1".into()),
                index: 0,
                thread_state,
                job_state: "PC1Done".into(),
                job_stage: Some("PC2".into()),
                last_error: Some("permanent: no space".into()),
                waiting_for: Some("a free pc2 process".into()),
                hint: Some("free some".into()),
                pause_asked: false,
                progress: None,
                draining: None,
            }),
            chain: OnChain::default(),
        }
    }

    #[test]
    fn a_row_tells_computing_from_waiting() {
        let running = sector(ThreadState::Running {
            elapsed: 3,
            proc: Some("ext(pid: 7)".into()),
        });
        let row = running.row(&deadline(0, 1));
        assert_eq!(row.stage, "PC2");
        assert_eq!(row.elapsed, Some(Duration::from_secs(3)));
        assert_eq!(row.note, "computes in ext(pid: 7)");
        let waiting = sector(ThreadState::Waiting { elapsed: 4 });
        let row = waiting.row(&deadline(0, 1));
        assert_eq!(row.elapsed, Some(Duration::from_secs(4)));
        assert_eq!(row.note, "waits for a free pc2 process");
    }

    #[test]
    fn a_paused_thread_with_an_error_is_trouble_and_a_retrying_one_is_not() {
        let waiting = sector(ThreadState::Waiting { elapsed: 1 });
        assert_eq!(waiting.trouble(), None);
        let mut paused = sector(ThreadState::Paused { elapsed: 1 });
        assert_eq!(
            paused.trouble().unwrap(),
            "stopped in PC1Done: permanent: no space; hint: free some"
        );
        paused.state.abort_reason = "ticket expired".into();
        assert_eq!(paused.trouble().unwrap(), "given up: ticket expired");
    }

    #[test]
    fn an_active_sector_says_when_its_deadline_opens() {
        let place = |deadline| SectorLocation {
            deadline,
            partition: 0,
        };
        assert_eq!(
            until_proven(place(3), &deadline(1, 25)),
            "deadline 3 opens in 35 epochs"
        );
        assert_eq!(
            until_proven(place(0), &deadline(3, 70)),
            "deadline 0 opens in 10 epochs"
        );
        assert!(until_proven(place(1), &deadline(1, 25)).contains("open for 15 more"));
    }

    #[test]
    fn an_active_sector_rests_until_its_window_and_a_proven_one_for_ever() {
        let mut sector = sector(ThreadState::Idle);
        assert_eq!(sector.rests_for(&deadline(1, 25)), Some(0), "it is sealed");
        sector.chain.activation = Some(20);
        sector.chain.location = Some(SectorLocation {
            deadline: 3,
            partition: 0,
        });
        assert_eq!(sector.rests_for(&deadline(1, 25)), Some(35));
        assert_eq!(sector.rests_for(&deadline(3, 61)), Some(0), "it is open");
        sector.chain.post = Some(PostRecord {
            epoch: 61,
            deadline: 3,
            partition: 0,
            sectors: vec![1],
            message: Cid::default(),
        });
        assert_eq!(sector.rests_for(&deadline(3, 62)), None);
    }
}
