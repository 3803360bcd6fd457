//! The line protocol between a daemon and its children: one JSON object per line.
//!
//! Request `{"id":u64,"task":…}`; answer `{"id":u64,"err_msg":null|text,"output":null|…}`,
//! in any order. Ours on top: `err_level`, `hint`, `kernel` and `retire` in answers (peers that do not
//! know them ignore them), and progress lines `{"id":u64,"progress":text}`, which a child
//! sends only when its parent has asked for them with `EVENTS_ENV`, because upstream's
//! parents would take such a line for an empty answer.

use damocles_types::Level;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Set to `1` by a parent that understands progress lines.
pub const EVENTS_ENV: &str = "DAMOCLES_PROCESSOR_EVENTS";

/// How many PC1 tasks a child may compute together (its `concurrent`), when more than one.
pub const PC1_BATCH_ENV: &str = "DAMOCLES_PC1_BATCH";
/// The longest time that a PC1 task waits for others to be computed together with, such as
/// `30s`; the operator's to set.
pub const PC1_BATCH_WAIT_ENV: &str = "DAMOCLES_PC1_BATCH_WAIT";

/// A task on its way to a child. Ids start at 1 per child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<T> {
    pub id: u64,
    pub task: T,
}

/// A child's answer, or a progress note when `progress` is set.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Response {
    pub id: u64,
    #[serde(default)]
    pub err_msg: Option<String>,
    #[serde(default)]
    pub output: Option<Box<RawValue>>,
    /// What the error means for the sector; permanent when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err_level: Option<Level>,
    /// What a person can do about the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which implementation computed, when the stage has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The child asks to be replaced after this answer (a panic may have poisoned it).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retire: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// `value` as one line, ended by a newline.
pub fn line<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_exactly_upstreams_three_fields() {
        let answer = Response {
            id: 3,
            output: Some(serde_json::value::to_raw_value(&true).unwrap()),
            ..Response::default()
        };
        assert_eq!(
            line(&answer).unwrap(),
            "{\"id\":3,\"err_msg\":null,\"output\":true}\n"
        );
        let error = Response {
            id: 4,
            err_msg: Some("no".into()),
            ..Response::default()
        };
        assert_eq!(
            line(&error).unwrap(),
            "{\"id\":4,\"err_msg\":\"no\",\"output\":null}\n"
        );
    }

    #[test]
    fn answers_of_foreign_children_are_read() {
        let answer: Response =
            serde_json::from_str(r#"{"id":1,"output":[1,2],"extra":0}"#).unwrap();
        assert_eq!(answer.output.unwrap().get(), "[1,2]");
        assert!(serde_json::from_str::<Response>("Segmentation fault").is_err());
        assert!(serde_json::from_str::<Response>(r#"{"output":1}"#).is_err());
    }
}
