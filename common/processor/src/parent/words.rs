//! A line of a child's log, read: at which level it was said, and what is left of it when the
//! child's own time and level are taken away. Pure. What no program of ours wrote stays as it
//! is.

use serde::Deserialize;
use tracing::Level;

/// Crates whose INFO tells how they compute, which only those want who look for a fault.
const CHATTY: &[&str] = &[
    "bellperson",
    "bellpepper",
    "blstrs",
    "ec_gpu",
    "filecoin_hashers",
    "filecoin_proofs",
    "filecoin_proofs_api",
    "fr32",
    "merkletree",
    "neptune",
    "rust_gpu_tools",
    "storage_proofs",
    "supraseal",
];
/// Our own crates: whoever reads the parent's log knows where it came from.
const OURS: &str = "damocles_";
/// How a line begins that was said within a task.
const SPAN: &str = "task{id=";

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// None: it is not a line of a log.
    pub(super) level: Option<Level>,
    pub(super) text: String,
    /// The task that it speaks of.
    pub(super) task: Option<u64>,
}

impl Said {
    /// Whether it may explain why the process died.
    pub(super) fn explains(&self) -> bool {
        self.level.is_none_or(|level| level <= Level::WARN)
    }
}

/// Reads a line in either form that our programs write.
pub(super) fn read(line: &str) -> Said {
    of_text(line)
        .or_else(|| of_json(line))
        .unwrap_or_else(|| Said {
            level: None,
            text: line.to_owned(),
            task: None,
        })
}

/// `2026-11-29T08:58:15.663943Z  INFO damocles_processor::serve: tree-d: 100 % task=1`
fn of_text(line: &str) -> Option<Said> {
    let (time, rest) = line.split_once(' ')?;
    let date = time.as_bytes().get(..11)?;
    let shape = b"0000-00-00T";
    let is_time = date.iter().zip(shape).all(|(have, want)| match want {
        b'0' => have.is_ascii_digit(),
        other => have == other,
    });
    is_time.then_some(())?;
    let (level, rest) = rest.trim_start().split_once(' ')?;
    let level: Level = level.parse().ok()?;
    let mut rest = rest.trim_start();
    let mut task = rest.rsplit_once(" task=").and_then(|(_, id)| {
        let id = id.split(' ').next()?;
        id.parse().ok()
    });
    // the span around a task
    if let Some((id, inner)) = rest
        .strip_prefix(SPAN)
        .and_then(|rest| rest.split_once("}: "))
    {
        task = task.or_else(|| id.parse().ok());
        rest = inner;
    }
    let (target, message) = rest.split_once(": ").unwrap_or(("", rest));
    let text = if target.starts_with(OURS) {
        message
    } else {
        rest
    };
    Some(Said {
        level: Some(toned(level, target)),
        text: text.to_owned(),
        task,
    })
}

fn of_json(line: &str) -> Option<Said> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        message: String,
        #[serde(default)]
        target: String,
        task: Option<u64>,
        span: Option<Within>,
    }
    #[derive(Deserialize)]
    struct Within {
        id: Option<u64>,
    }
    let line: Line = line
        .starts_with('{')
        .then(|| serde_json::from_str(line).ok())??;
    let level = line.level.parse().ok()?;
    let text = if line.target.starts_with(OURS) {
        line.message
    } else {
        format!("{}: {}", line.target, line.message)
    };
    Some(Said {
        level: Some(toned(level, &line.target)),
        text,
        task: line.task.or(line.span.and_then(|span| span.id)),
    })
}

fn toned(level: Level, target: &str) -> Level {
    let root = target.split("::").next().unwrap_or(target);
    let chatty = CHATTY.iter().any(|name| root.starts_with(name));
    if level == Level::INFO && chatty {
        Level::DEBUG
    } else {
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_our_programs_lose_their_time_and_keep_their_level() {
        let table = [
            (
                "2026-11-29T08:58:15.663943Z  INFO damocles_processor::serve: tree-d: 100 % task=12",
                Some(Level::INFO),
                "tree-d: 100 % task=12",
                Some(12),
            ),
            (
                "2026-11-29T09:37:13.730536Z  WARN damocles_processor::pin: no preferred NUMA node: Invalid argument",
                Some(Level::WARN),
                "no preferred NUMA node: Invalid argument",
                None,
            ),
            (
                "2026-11-29T09:37:13.7Z  INFO storage_proofs_core::parameter_cache: parameter set",
                Some(Level::DEBUG),
                "storage_proofs_core::parameter_cache: parameter set",
                None,
            ),
            (
                "2026-11-29T09:37:13.7Z  WARN task{id=4}: damocles_processor::stage::pc1: it is slow",
                Some(Level::WARN),
                "it is slow",
                Some(4),
            ),
            (
                "2026-11-29T09:37:13.7Z ERROR bellperson::gpu: no device",
                Some(Level::ERROR),
                "bellperson::gpu: no device",
                None,
            ),
            (
                r#"{"timestamp":"2026-11-29T09:37:13Z","level":"WARN","message":"it is slow","span":{"id":3,"name":"task"},"target":"damocles_processor::stage"}"#,
                Some(Level::WARN),
                "it is slow",
                Some(3),
            ),
        ];
        for (line, level, text, task) in table {
            let said = Said {
                level,
                text: text.to_owned(),
                task,
            };
            assert_eq!(read(line), said, "{line}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_log_stays_as_it_is() {
        for line in [
            "terminate called after throwing an instance of 'std::runtime_error'",
            "2026-11-29 a date and no more",
            "2026-11-29T08:58:15Z LOUD x",
            "{\"what\": 1}",
            "äöü äöü äöü",
            "",
        ] {
            let said = read(line);
            assert_eq!((said.level, said.text.as_str()), (None, line));
            assert!(said.explains());
        }
    }

    #[test]
    fn progress_explains_no_death() {
        let explains = |level| read(&format!("2026-11-29T08:58:15Z {level} x: y")).explains();
        assert!(explains("ERROR") && explains("WARN"));
        assert!(!explains("INFO") && !explains("DEBUG"));
    }
}
