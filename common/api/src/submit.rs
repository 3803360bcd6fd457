//! Handing commitments and proofs to the manager, and asking what became of them.

use crate::reason::Reason;
use damocles_types::{Base64, Seed};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_u8(match self { $(Self::$variant => $number),+ })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                match u8::deserialize(d)? {
                    $($number => Ok(Self::$variant),)+
                    other => Err(de::Error::custom(format!(concat!("{} is not ", $what), other))),
                }
            }
        }
    };
}

numbered! {
    /// What the manager made of a submission. JSON: 1 … 5.
    SubmitResult, "a submit result (1 to 5)" {
        /// Taken; poll for the message.
        Accepted = 1,
        /// The same was taken before.
        DuplicateSubmit = 2,
        /// Something else was taken before, or it disagrees with the chain: a person must look.
        MismatchedSubmission = 3,
        /// It can never be taken: give the sector up.
        Rejected = 4,
        /// Files are not where they should be: persist again.
        FilesMissed = 5,
    }
}

numbered! {
    /// What became of a message. JSON: 1 … 7.
    OnChainState, "an on-chain state (1 to 7)" {
        /// Not on chain yet.
        Pending = 1,
        /// On chain, not yet deep enough.
        Packed = 2,
        /// On chain, deep enough, and done.
        Landed = 3,
        NotFound = 4,
        /// It failed in a way that another try may cure.
        Failed = 5,
        /// It failed in a way that a person must look at.
        PermFailed = 6,
        /// The sector cannot be finished.
        ShouldAbort = 7,
    }
}

/// A proof as a worker submits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProofOnChainInfo {
    pub proof: Base64,
}

/// Answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubmitResp {
    pub res: SubmitResult,
    pub desc: Option<String>,
    /// Of ours: the reason as a code. Absent where there is none, and from upstream's managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Answer to a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PollStateResp {
    pub state: OnChainState,
    pub desc: Option<String>,
    /// Of ours: the reason as a code. Absent where there is none, and from upstream's managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The seed, or how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WaitSeedResp {
    pub should_wait: bool,
    /// Seconds.
    pub delay: u64,
    pub seed: Option<Seed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_travel_as_numbers_and_zero_is_refused() {
        assert_eq!(serde_json::to_string(&SubmitResult::Rejected).unwrap(), "4");
        assert_eq!(
            serde_json::from_str::<OnChainState>("3").unwrap(),
            OnChainState::Landed
        );
        assert!(
            serde_json::from_str::<OnChainState>("0")
                .unwrap_err()
                .to_string()
                .contains("not an on-chain state")
        );
        assert!(serde_json::from_str::<SubmitResult>("6").is_err());
        let resp = SubmitResp {
            res: SubmitResult::Accepted,
            desc: None,
            reason: None,
        };
        assert_eq!(
            serde_json::to_string(&resp).unwrap(),
            r#"{"Res":1,"Desc":null}"#
        );
        let resp = SubmitResp {
            res: SubmitResult::Rejected,
            desc: Some("too old".into()),
            reason: Some(Reason::TicketExpired),
        };
        let text = r#"{"Res":4,"Desc":"too old","Reason":"TicketExpired"}"#;
        assert_eq!(serde_json::to_string(&resp).unwrap(), text);
        let upstream: SubmitResp = serde_json::from_str(r#"{"Res":4,"Desc":"x"}"#).unwrap();
        assert_eq!(upstream.reason, None);
    }
}
