//! A private key and what it does: the address it speaks for, signatures, and Lotus' form in
//! which keys go from wallet to wallet. Its bytes are wiped when it is dropped, and no `Debug`
//! shows them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use blst::min_pk::SecretKey;
use damocles_node::KeyType;
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
};
use k256::ecdsa::SigningKey;
use rand::{RngCore, rngs::OsRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a private key, of either kind.
const LENGTH: usize = 32;
/// Longest text that is read as a key (bytes); Lotus' has some 200.
pub(super) const LONGEST_TEXT: usize = 4096;
/// How Filecoin hashes to the curve: BLS signatures in G2, "basic" scheme with proof of nothing
/// (Filecoin specification, section "Signatures"; RFC 9380 names the suite).
const BLS_DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_";

/// Why bytes or a text are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "this is not a key as `lotus wallet export` writes it: {0}; it is hexadecimal of {{\"Type\":\"secp256k1\",\"PrivateKey\":\"…\"}}"
    )]
    Text(&'static str),
    #[error("a private key has {LENGTH} bytes, and this one has {0}")]
    Length(usize),
    #[error("these bytes are no {} private key: they lie outside of its group", .0.name())]
    Range(KeyType),
}

/// The bytes of a private key; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
struct Secret(Zeroizing<[u8; LENGTH]>);

impl Secret {
    fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut held = Zeroizing::new([0; LENGTH]);
        if bytes.len() != LENGTH {
            return Err(KeyError::Length(bytes.len()));
        }
        held.copy_from_slice(bytes);
        Ok(Self(held))
    }
}

/// As base64, as Lotus writes it.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(self.0.as_slice()));
        s.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Read;
        impl de::Visitor<'_> for Read {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a private key in base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                let bytes = STANDARD.decode(text).map(Zeroizing::new);
                let bytes = bytes.map_err(|_| E::custom("a private key that is not base64"))?;
                Secret::of(&bytes).map_err(E::custom)
            }
        }
        d.deserialize_str(Read)
    }
}

/// A key as it goes from wallet to wallet, and as it lies in the sealed part of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Bare {
    r#type: KeyType,
    private_key: Secret,
}

/// A private key with its address.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    address: Address,
    bare: Bare,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, hidden)", self.address)
    }
}

impl TryFrom<Bare> for Key {
    type Error = KeyError;

    fn try_from(bare: Bare) -> Result<Self, KeyError> {
        let range = |_| KeyError::Range(bare.r#type);
        let address = match bare.r#type {
            KeyType::Secp256k1 => {
                let public = bare.secp256k1()?.verifying_key().to_encoded_point(false);
                Address::new_secp256k1(public.as_bytes()).map_err(range)?
            }
            KeyType::Bls => {
                let public = bare.bls()?.sk_to_pk().to_bytes();
                Address::new_bls(&public).map_err(range)?
            }
        };
        Ok(Self { address, bare })
    }
}

impl Bare {
    fn secp256k1(&self) -> Result<SigningKey, KeyError> {
        SigningKey::from_slice(self.private_key.0.as_slice())
            .map_err(|_| KeyError::Range(self.r#type))
    }

    /// Filecoin keeps the scalar with its lowest byte first, the library with its highest.
    fn bls(&self) -> Result<SecretKey, KeyError> {
        let mut bytes = self.private_key.0.clone();
        bytes.reverse();
        SecretKey::from_bytes(bytes.as_slice()).map_err(|_| KeyError::Range(self.r#type))
    }
}

impl Key {
    /// A new key that nobody else has, from the system's random numbers.
    pub fn generate(kind: KeyType) -> Self {
        loop {
            let mut bytes = Zeroizing::new([0; LENGTH]);
            OsRng.fill_bytes(bytes.as_mut_slice());
            // of 32 bytes every second text is no BLS scalar, and hardly any no secp256k1 one
            let bare = Bare {
                r#type: kind,
                private_key: Secret(bytes),
            };
            if let Ok(key) = Self::try_from(bare) {
                return key;
            }
        }
    }

    /// Reads what `lotus wallet export` writes: hexadecimal of JSON, or that JSON itself.
    ///
    /// # Errors
    /// [`KeyError`]; no part of the text is in it.
    pub fn from_lotus(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > LONGEST_TEXT {
            return Err(KeyError::Text("it is too long"));
        }
        let json = if text.starts_with('{') {
            Zeroizing::new(text.as_bytes().to_vec())
        } else {
            // of its length from the beginning: what grows leaves copies of itself behind
            let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
            hex::decode_to_slice(text, &mut bytes)
                .map_err(|_| KeyError::Text("it is not hexadecimal"))?;
            bytes
        };
        let bare: Bare = serde_json::from_slice(&json).map_err(|_| {
            // what serde says may quote the text
            KeyError::Text("there is no key of type secp256k1 or bls in it")
        })?;
        Self::try_from(bare)
    }

    /// The form that [`Key::from_lotus`] and `lotus wallet import` read.
    pub fn to_lotus(&self) -> Zeroizing<String> {
        // a name and a text always serialise
        let json = Zeroizing::new(serde_json::to_vec(&self.bare).unwrap_or_default());
        Zeroizing::new(hex::encode(&*json))
    }

    /// The key address (`f1…` or `f3…`) that it signs for.
    pub fn address(&self) -> Address {
        self.address
    }

    pub fn kind(&self) -> KeyType {
        self.bare.r#type
    }

    pub(super) fn bare(&self) -> &Bare {
        &self.bare
    }

    /// Signs bytes as the chain verifies them: secp256k1 signs their blake2b-256 hash and adds
    /// the number by which the public key is recovered, BLS signs the bytes.
    ///
    /// # Errors
    /// [`KeyError::Range`]: never of a key that was made by this type.
    pub fn sign(&self, bytes: &[u8]) -> Result<Signature, KeyError> {
        match self.kind() {
            KeyType::Secp256k1 => {
                let hash = blake2b_simd::Params::new().hash_length(32).hash(bytes);
                let signed = self
                    .bare
                    .secp256k1()?
                    .sign_prehash_recoverable(hash.as_bytes());
                let (signature, recovery) = signed.map_err(|_| KeyError::Range(self.kind()))?;
                let mut bytes = signature.to_bytes().to_vec();
                bytes.push(recovery.to_byte());
                Ok(Signature {
                    sig_type: SignatureType::Secp256k1,
                    bytes,
                })
            }
            KeyType::Bls => Ok(Signature {
                sig_type: SignatureType::BLS,
                bytes: self
                    .bare
                    .bls()?
                    .sign(bytes, BLS_DST, &[])
                    .to_bytes()
                    .to_vec(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fvm_shared::address::Network;

    /// Both kinds from one scalar, 1, whose keys are the generators of the groups.
    fn one(kind: KeyType) -> Key {
        let mut bytes = [0; LENGTH];
        let at = match kind {
            KeyType::Secp256k1 => LENGTH - 1,
            KeyType::Bls => 0,
        };
        bytes[at] = 1;
        let private_key = Secret(Zeroizing::new(bytes));
        Key::try_from(Bare {
            r#type: kind,
            private_key,
        })
        .unwrap()
    }

    #[test]
    fn the_chain_verifies_what_is_signed_and_nothing_else() {
        for kind in [KeyType::Secp256k1, KeyType::Bls] {
            let (key, other) = (Key::generate(kind), Key::generate(kind));
            let signature = key.sign(b"hello").unwrap();
            signature.verify(b"hello", &key.address()).unwrap();
            assert!(signature.verify(b"hullo", &key.address()).is_err());
            assert!(signature.verify(b"hello", &other.address()).is_err());
            assert_eq!(key.sign(b"hello").unwrap(), signature, "the same again");
        }
    }

    /// What Lotus' own libraries make of the scalar 1.
    #[test]
    fn byte_orders_are_those_of_filecoin() {
        // the compressed generator of G1, and the uncompressed one of secp256k1
        let g1 = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
        let bls = Address::new_bls(&hex::decode(g1).unwrap()).unwrap();
        assert_eq!(one(KeyType::Bls).address(), bls);
        let g = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
        let secp = Address::new_secp256k1(&hex::decode(g).unwrap()).unwrap();
        assert_eq!(one(KeyType::Secp256k1).address(), secp);
    }

    #[test]
    fn lotus_form_goes_there_and_back_and_a_devnet_reads_it() {
        for kind in [KeyType::Secp256k1, KeyType::Bls] {
            let key = Key::generate(kind);
            let text = key.to_lotus();
            assert_eq!(Key::from_lotus(&text).unwrap(), key);
            let json = hex::decode(&*text).unwrap();
            let plain = String::from_utf8(json.clone()).unwrap();
            assert_eq!(Key::from_lotus(&plain).unwrap(), key);
            // another implementation of the same format, and of the same curves
            let info: damocles_node::KeyInfo = serde_json::from_slice(&json).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let mut wallet = damocles_devnet::wallet::Wallet::open(dir.path()).unwrap();
            assert_eq!(wallet.import(info).unwrap(), key.address());
            let theirs = wallet.sign(&key.address(), b"x").unwrap();
            assert_eq!(theirs, key.sign(b"x").unwrap());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let json = |kind: &str, bytes: &[u8]| {
            let key = STANDARD.encode(bytes);
            hex::encode(format!(r#"{{"Type":"{kind}","PrivateKey":"{key}"}}"#))
        };
        let long = "ab".repeat(LONGEST_TEXT);
        for (text, said) in [
            (json("secp256k1", &[0; 32]), "outside"),
            (json("bls", &[0xff; 32]), "outside"),
            (json("bls", &[1; 31]), "no key of type"),
            (json("delegated", &[1; 32]), "no key of type"),
            ("{}".into(), "no key of type"),
            ("topsecret".into(), "not hexadecimal"),
            (long, "too long"),
            (String::new(), "no key of type"),
        ] {
            let error = Key::from_lotus(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn nothing_shows_the_key() {
        let key = Key::generate(KeyType::Secp256k1);
        let shown = format!("{key:?}");
        let hex = hex::encode(key.bare.private_key.0.as_slice());
        let base64 = STANDARD.encode(key.bare.private_key.0.as_slice());
        assert!(!shown.contains(&hex) && !shown.contains(&base64), "{shown}");
        // and one key has one name on each network
        let (main, test) = (Network::Mainnet, Network::Testnet);
        let text = key.address().to_string();
        let bare = &text[1..];
        assert_eq!(
            main.parse_address(&format!("f{bare}")).unwrap(),
            test.parse_address(&format!("t{bare}")).unwrap()
        );
    }
}
