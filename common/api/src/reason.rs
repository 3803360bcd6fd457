//! Why a submission was not taken, or a message did not land, as a code: what a worker decides
//! by. The sentence beside it (`Desc`) is for people; no program reads it, except that of an
//! upstream manager, which has no codes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use strum::{Display, EnumIter, EnumString};

/// A reason that decides what happens next. JSON: its name, e.g. `"TicketExpired"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, EnumIter)]
pub enum Reason {
    /// The ticket is too old for the chain: a fresh one is needed, and PC1 anew.
    TicketExpired,
    /// The ticket is not the chain's of its epoch (a reorganisation): a fresh one is needed.
    TicketNotOnChain,
    /// The seed is not the chain's any more (a reorganisation): ask for the seed again, then C1.
    SeedChanged,
    /// The proof does not verify, or is not even a proof: compute C2 again before anything else.
    ProofInvalid,
    /// The precommit left the chain, or expired there, and the number is still free for it: submit
    /// the precommit again.
    PreCommitGone,
    /// The chain will never take it: its number was used by something else, finally. Only a person
    /// gives the sector up, or the worker after having asked twice.
    NumberUsed,
    /// Nothing of the kind was submitted to this manager, which may have an older database.
    NotSubmitted,
    /// Another value was taken before, or the chain has another one.
    Differs,
    /// Something else is waited for (node, wallet, pool, store); nothing has failed.
    NotNow,
    /// A reason that this program does not know, of a newer manager.
    Unknown,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = Reason;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a reason")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Reason, E> {
                Ok(name.parse().unwrap_or(Reason::Unknown))
            }
        }
        d.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn reasons_travel_by_name_and_news_of_a_newer_manager_is_no_error() {
        for reason in Reason::iter() {
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(text, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
        }
        let newer = serde_json::from_str::<Reason>("\"PledgeTooHigh\"").unwrap();
        assert_eq!(newer, Reason::Unknown);
    }
}
