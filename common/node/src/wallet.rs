//! Keys of the node's wallet.

use crate::wire;
use fvm_shared::crypto::signature::SignatureType;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The kind of a key. JSON: `"bls"` or `"secp256k1"`; on input also the numbers 2 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyType {
    Secp256k1,
    Bls,
}

impl KeyType {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::Bls => "bls",
        }
    }
}

impl From<KeyType> for SignatureType {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Secp256k1 => Self::Secp256k1,
            KeyType::Bls => Self::BLS,
        }
    }
}

impl Serialize for KeyType {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for KeyType {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Name(String),
            Number(u64),
        }
        match Form::deserialize(d)? {
            Form::Name(name) if name == "bls" => Ok(Self::Bls),
            Form::Name(name) if name == "secp256k1" => Ok(Self::Secp256k1),
            Form::Number(1) => Ok(Self::Secp256k1),
            Form::Number(2) => Ok(Self::Bls),
            Form::Name(other) => Err(de::Error::custom(format!(
                "unknown key type {other:?}; write bls or secp256k1"
            ))),
            Form::Number(other) => Err(de::Error::custom(format!(
                "unknown key type {other}; write bls or secp256k1"
            ))),
        }
    }
}

/// A private key on its way in or out of a wallet (`WalletExport`, `WalletImport`). Its
/// `Debug` never shows the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyInfo {
    pub r#type: KeyType,
    /// BLS: little-endian scalar; secp256k1: big-endian scalar; 32 bytes each.
    #[serde(with = "wire")]
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for KeyInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyInfo({}, hidden)", self.r#type.name())
    }
}
