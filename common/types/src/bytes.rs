//! Byte strings that travel as standard base64 with padding (Go's `[]byte`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte string. JSON: standard base64 with padding. On input an array of numbers is
/// taken as well, because upstream's worker sends proofs in that form.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

impl std::fmt::Debug for Base64 {
    /// Proofs are long; a log line needs only to tell them apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = STANDARD.encode(&self.0[..self.0.len().min(12)]);
        write!(f, "Base64({text}… {} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Base64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a base64 string, an array of byte values, or null")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Base64, E> {
                STANDARD.decode(v).map(Base64).map_err(E::custom)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Base64, E> {
                Ok(Base64::default())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Base64, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element::<u8>()? {
                    out.push(byte);
                }
                Ok(Base64(out))
            }
        }
        d.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_both_forms_and_writes_base64() {
        let a: Base64 = serde_json::from_str("\"AQID\"").unwrap();
        let b: Base64 = serde_json::from_str("[1,2,3]").unwrap();
        assert_eq!(a, b);
        assert_eq!(serde_json::to_string(&b).unwrap(), "\"AQID\"");
        assert!(serde_json::from_str::<Base64>("[256]").is_err());
        assert!(serde_json::from_str::<Base64>("\"*\"").is_err());
    }
}
