//! How lists say these shapes in words: one drawing for the commands of both programs.

use crate::{
    timeline::{Ending, TimelineEntry},
    worker::{ChildInfo, Draining, Progress, StageInfo, ThreadInfo, ThreadState},
};
use damocles_types::shown_lines;

/// What stands where there is nothing to say.
pub const NOTHING: &str = "—";

/// Headings of a worker's threads.
pub const THREADS: [&str; 9] = [
    "#", "location", "plan", "sector", "state", "stage", "doing", "for", "problem",
];

/// Headings of a sector's timeline.
pub const TIMELINE: [&str; 8] = [
    "#", "state", "stage", "waited", "ran", "by", "kernel", "outcome",
];

/// Headings of a worker's processors.
pub const CHILDREN: [&str; 8] = [
    "stage", "waiting", "running", "child", "phase", "pid", "restarts", "problem",
];

/// A stage's rows under [`CHILDREN`]: one for each child.
pub fn children(stage: &StageInfo) -> Vec<[String; 8]> {
    let row = |child: &ChildInfo| {
        let problem = child.reason.clone().or_else(|| {
            let kept = child.dump.as_ref();
            kept.map(|dir| format!("bad answers are kept in {dir}"))
        });
        [
            stage.stage.clone(),
            stage.waiting.to_string(),
            stage.running.to_string(),
            child.name.clone(),
            child.phase.clone(),
            child
                .pid
                .map_or_else(|| NOTHING.to_owned(), |pid| pid.to_string()),
            child.restarts.to_string(),
            or_nothing(problem.as_ref()),
        ]
    };
    stage.children.iter().map(row).collect()
}

/// `850ms`, `42.1s`, `5m20s`, `2h07m`, `3d04h`.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{}d{:02}h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

fn or_nothing(text: Option<&String>) -> String {
    match text {
        Some(text) if !text.is_empty() => text.clone(),
        _ => NOTHING.to_owned(),
    }
}

/// A thread's row under [`THREADS`].
pub fn thread(info: &ThreadInfo) -> [String; 9] {
    let (doing, elapsed, child) = match &info.thread_state {
        ThreadState::Idle => ("idle", None, None),
        ThreadState::Paused { elapsed } => ("paused", Some(*elapsed), None),
        ThreadState::Running { elapsed, proc } => ("running", Some(*elapsed), proc.as_ref()),
        ThreadState::Waiting { elapsed } => ("waiting", Some(*elapsed), None),
    };
    let mut doing = doing.to_owned();
    if info.pause_asked {
        doing.push_str(", pauses when the step ends");
    }
    if let Some(what) = info.waiting_for.as_ref().or(child) {
        doing.push_str(&format!(": {what}"));
    }
    if let Some(Progress { text, ago }) = &info.progress {
        doing.push_str(&format!("; {text} ({} ago)", span(ago * 1_000)));
    }
    // one that has come there says so as what it waits for
    if let Some(Draining {
        fate,
        stands: false,
    }) = &info.draining
    {
        doing.push_str(&format!("; draining: {fate}"));
    }
    [
        info.index.to_string(),
        info.location.clone(),
        info.plan.clone(),
        or_nothing(info.job_id.as_ref()),
        or_nothing(Some(&info.job_state)),
        or_nothing(info.job_stage.as_ref()),
        doing,
        elapsed.map_or_else(|| NOTHING.to_owned(), |seconds| span(seconds * 1_000)),
        or_nothing(info.last_error.as_ref()),
    ]
}

/// The whole problem of a thread and what to do about it, for below the list.
pub fn problem(info: &ThreadInfo) -> Option<String> {
    let error = shown_lines(info.last_error.as_ref()?, usize::MAX);
    let mut text = format!("#{}: {error}", info.index);
    if let Some(hint) = info.hint.as_ref().filter(|hint| !hint.is_empty()) {
        text.push_str(&format!("\n    hint: {}", shown_lines(hint, usize::MAX)));
    }
    Some(text)
}

/// An attempt's row under [`TIMELINE`]. `now`: milliseconds since the Unix epoch, for the
/// attempt that goes on.
pub fn attempt(entry: &TimelineEntry, now: u64) -> [String; 8] {
    let outcome = match &entry.ending {
        None => "goes on".to_owned(),
        Some(Ending::Done { next }) => format!("→ {next}"),
        Some(Ending::Failed { level, message }) => format!("{level}: {message}"),
        Some(Ending::Interrupted) => "interrupted".to_owned(),
    };
    let waited = match (entry.started_at, entry.ended_at) {
        (None, None) => now.saturating_sub(entry.queued_at),
        _ => entry.waited_ms(),
    };
    let ran = match (entry.started_at, entry.ended_at) {
        (Some(_), Some(_)) => span(entry.ran_ms()),
        (Some(started), None) => span(now.saturating_sub(started)),
        (None, _) => NOTHING.to_owned(),
    };
    [
        entry.seq.to_string(),
        entry.state.clone(),
        entry.stage.clone(),
        span(waited),
        ran,
        or_nothing(entry.child.as_ref()),
        or_nothing(entry.kernel.as_ref()),
        outcome,
    ]
}

/// `3 attempts: waited 2h07m, ran 5m20s`.
pub fn total(entries: &[TimelineEntry]) -> String {
    let (waited, ran) = entries
        .iter()
        .fold((0, 0), |(w, r), e| (w + e.waited_ms(), r + e.ran_ms()));
    let attempts = match entries.len() {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    format!("{attempts}: waited {}, ran {}", span(waited), span(ran))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form() {
        for (ms, text) in [
            (0, "0ms"),
            (850, "850ms"),
            (6_000, "6s"),
            (42_190, "42.1s"),
            (320_000, "5m20s"),
            (7_620_000, "2h07m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn a_thread_says_what_it_waits_for_and_its_problem_stands_whole_below() {
        let mut info = ThreadInfo {
            location: "/nvme/0".into(),
            plan: "sealer".into(),
            job_id: Some("s-t01000-7".into()),
            index: 3,
            thread_state: ThreadState::Waiting { elapsed: 65 },
            job_state: "PC1Done".into(),
            job_stage: Some("PC2".into()),
            last_error: Some("temporary: gone".into()),
            waiting_for: Some("the lock gpu".into()),
            hint: Some("look".into()),
            pause_asked: false,
            progress: None,
            draining: None,
        };
        assert_eq!(
            thread(&info).join("|"),
            "3|/nvme/0|sealer|s-t01000-7|PC1Done|PC2|waiting: the lock gpu|1m05s|temporary: gone"
        );
        assert_eq!(
            problem(&info).unwrap(),
            "#3: temporary: gone\n    hint: look"
        );
        info.hint = Some(String::new());
        assert_eq!(problem(&info).unwrap(), "#3: temporary: gone");
        info.last_error = None;
        assert_eq!(problem(&info), None);
        info.waiting_for = None;
        info.thread_state = ThreadState::Running {
            elapsed: 65,
            proc: Some("ext(pid: 7)".into()),
        };
        info.pause_asked = true;
        info.progress = Some(Progress {
            text: "layer 3 of 11".into(),
            ago: 5,
        });
        assert_eq!(
            thread(&info)[6],
            "running, pauses when the step ends: ext(pid: 7); layer 3 of 11 (5s ago)"
        );
        (info.pause_asked, info.progress) = (false, None);
        info.draining = Some(Draining {
            fate: "goes on to PC2Done".into(),
            stands: false,
        });
        assert_eq!(
            thread(&info)[6],
            "running: ext(pid: 7); draining: goes on to PC2Done"
        );
    }

    #[test]
    fn a_problem_forges_no_line_of_the_list() {
        let info = ThreadInfo {
            location: "/nvme/0".into(),
            plan: "sealer".into(),
            job_id: None,
            index: 3,
            thread_state: ThreadState::Idle,
            job_state: String::new(),
            job_stage: None,
            last_error: Some("gone\n#4: fine\u{1b}[2J".into()),
            waiting_for: None,
            hint: None,
            pause_asked: false,
            progress: None,
            draining: None,
        };
        assert_eq!(problem(&info).unwrap(), "#3: gone\n  | #4: fine\\u{1b}[2J");
    }

    #[test]
    fn an_attempt_that_goes_on_has_run_until_now() {
        let mut entry = TimelineEntry {
            seq: 1,
            state: "C1Done".into(),
            stage: "C2".into(),
            queued_at: 1_000,
            started_at: Some(3_000),
            ended_at: None,
            child: Some("ext(pid: 7)".into()),
            kernel: Some(String::new()),
            ending: None,
        };
        assert_eq!(
            attempt(&entry, 483_000).join("|"),
            "1|C1Done|C2|2s|8m00s|ext(pid: 7)|—|goes on"
        );
        entry.started_at = None;
        assert_eq!(
            attempt(&entry, 5_000)[3..5],
            ["4s".to_owned(), "—".to_owned()]
        );
        entry.ended_at = Some(9_000);
        assert_eq!(total(&[entry]), "1 attempt: waited 0ms, ran 0ms");
    }
}
