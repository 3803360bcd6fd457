//! Randomness drawn from the chain: the ticket that PC1 is bound to, the seed that C1 answers.

use crate::bytes::Base64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A chain epoch. Negative epochs occur: on a young chain a ticket lies before genesis.
pub type Epoch = i64;

/// 32 bytes drawn from the chain. JSON: base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Randomness(pub [u8; 32]);

impl Randomness {
    /// As the proofs library takes it: a field element, so the two top bits are cleared
    /// (Filecoin spec, PoSt randomness; lotus does the same before every PoSt call).
    pub fn as_field_element(self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes[31] &= 0x3f;
        bytes
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness(")?;
        self.0
            .iter()
            .take(4)
            .try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str("…)")
    }
}

impl Serialize for Randomness {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Base64(self.0.to_vec()).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Randomness {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = Base64::deserialize(d)?.0;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_| {
            de::Error::custom(format!("randomness must be 32 bytes, these are {length}"))
        })
    }
}

/// Seal randomness of a sector (`SealRandomness`). JSON: `{"Ticket":base64,"Epoch":i64}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ticket {
    pub ticket: Randomness,
    pub epoch: Epoch,
}

/// Interactive PoRep challenge seed. JSON: `{"Seed":base64,"Epoch":i64}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Seed {
    pub seed: Randomness,
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_base64_and_exactly_32_bytes() {
        let ticket = Ticket {
            ticket: Randomness([1; 32]),
            epoch: -900,
        };
        let json = serde_json::to_string(&ticket).unwrap();
        assert_eq!(
            json,
            r#"{"Ticket":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Epoch":-900}"#
        );
        assert_eq!(serde_json::from_str::<Ticket>(&json).unwrap(), ticket);
        assert!(serde_json::from_str::<Ticket>(r#"{"Ticket":"AQE=","Epoch":1}"#).is_err());
    }

    #[test]
    fn field_elements_have_the_top_bits_cleared() {
        assert_eq!(Randomness([0xff; 32]).as_field_element()[31], 0x3f);
    }
}
