//! What the audit log says of a call: who made it, what it is about, and how it ended. Parameters
//! are not kept: a sector, or a name, tells what it was about, and neither is a secret.

use axum::{
    extract::{ConnectInfo, Request as HttpRequest},
    http::{Extensions, StatusCode},
};
use damocles_api::caller::Caller;
use damocles_daemon::{audit::Entry, auth::Bearer};
use damocles_types::SectorId;
use jsonrpsee::{MethodResponse, types::Request};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, net::SocketAddr, time::SystemTime};

/// Calls that come from every worker all the time, and change nothing but when it was heard of.
/// They are noted only when they are refused.
const HEARTBEATS: [&str; 5] = [
    "Venus.WorkerPing",
    "Venus.WdPoStAllocateJobs",
    "Venus.WdPoStHeartbeatJobs",
    "Damocles.TakeWindowPosts",
    "Damocles.WindowPostsLive",
];
/// An answer above this many bytes is not searched for what was made.
const SMALL: usize = 16 << 10;

/// A call under way that may change something.
#[derive(Debug)]
pub(super) struct Call(Entry);

impl Call {
    pub(super) fn of(request: &Request<'_>) -> Self {
        let params = request.params.as_ref().map(|p| p.get());
        let about = params.and_then(first).unwrap_or_default();
        Self(Entry {
            sector: about.sector.map(|s| s.to_string()),
            subject: about.name,
            ..by(request.extensions(), request.method.to_string())
        })
    }

    /// A piece that is handed in.
    pub(super) fn of_piece(request: &HttpRequest) -> Self {
        let piece = request.uri().path().rsplit('/').next();
        let method = format!("{} /piecestore", request.method());
        Self(Entry {
            subject: piece.map(str::to_owned),
            ..by(request.extensions(), method)
        })
    }

    /// The line about one that ended with that status.
    pub(super) fn ended(self, status: StatusCode) -> Entry {
        let failed = !status.is_success();
        Entry {
            error: failed.then(|| status.as_u16().into()),
            ..self.0
        }
    }

    /// The line about it; None: it is not worth one.
    pub(super) fn answered(self, response: &MethodResponse) -> Option<Entry> {
        #[derive(Deserialize)]
        struct Answer {
            result: Option<About>,
            error: Option<Refusal>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            code: i32,
            message: String,
        }
        let mut entry = self.0;
        if response.is_success() && HEARTBEATS.contains(&entry.method.as_str()) {
            return None;
        }
        let text = response.as_json().get();
        let answer = (text.len() <= SMALL).then(|| serde_json::from_str::<Answer>(text).ok());
        let answer = answer.flatten();
        entry.error = response.as_error_code();
        if let Some(Answer { result, error }) = answer {
            entry.reason = error.map(|e| format!("{} ({})", e.message, e.code));
            // a sector that was handed out
            let made = result.and_then(|about| about.sector);
            entry.sector = entry.sector.or_else(|| made.map(|s| s.to_string()));
        }
        Some(entry)
    }
}

/// Who calls what now, as the connection and the token tell.
fn by(extensions: &Extensions, method: String) -> Entry {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let bearer = extensions.get::<Bearer>();
    let told = extensions.get::<Caller>().map(Caller::to_string);
    let bound = bearer.and_then(|b| b.worker.as_ref());
    Entry {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        method,
        address: peer.map_or_else(String::new, |p| p.0.ip().to_canonical().to_string()),
        token: bearer.map(|b| b.id.to_string()),
        worker: told.or_else(|| bound.map(|name| format!("worker {name}"))),
        ..Entry::default()
    }
}

/// What a value is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct About {
    sector: Option<SectorId>,
    name: Option<String>,
}

impl<'de> Deserialize<'de> for About {
    /// A sector, what has one as its `ID`, or a name; of anything else nothing is told.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Sector(SectorId),
            Has {
                #[serde(rename = "ID")]
                id: SectorId,
            },
            Name(String),
            Other(IgnoredAny),
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::Sector(id) | Shape::Has { id } => Self {
                sector: Some(id),
                name: None,
            },
            Shape::Name(name) => Self {
                sector: None,
                name: Some(name),
            },
            Shape::Other(_) => Self::default(),
        })
    }
}

/// What the first of the parameters is about.
fn first(params: &str) -> Option<About> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let first = list.next_element()?;
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }
    let first = serde_json::Deserializer::from_str(params).deserialize_seq(First);
    serde_json::from_str(first.ok()??.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_is_about_is_told_by_its_first_parameter() {
        const ID: SectorId = SectorId::new(1000, 7);
        for (params, sector, name) in [
            (r#"[{"Miner":1000,"Number":7},true]"#, Some(ID), None),
            (
                r#"[{"ID":{"Miner":1000,"Number":7},"ProofType":5}]"#,
                Some(ID),
                None,
            ),
            (r#"["w1"]"#, None, Some("w1")),
            (r#"[{"Token":"secret"}]"#, None, None),
            ("[7]", None, None),
            ("[null,1]", None, None),
        ] {
            let about = first(params).unwrap();
            assert_eq!(about.sector, sector, "{params}");
            assert_eq!(about.name.as_deref(), name, "{params}");
        }
        for params in ["[]", "{}", "[", "7"] {
            assert_eq!(first(params), None, "{params}");
        }
    }
}
