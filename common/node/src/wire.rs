//! How the chain's own types are written in the node's JSON.
//!
//! A field says `#[serde(with = "crate::wire")]`; a bare value (the whole result of a method)
//! is wrapped in [`W`]. The forms, as Lotus writes them:
//!
//! | type | JSON |
//! |---|---|
//! | `Cid` | `{"/":"bafy…"}` |
//! | `Address` | `"t01000"` |
//! | `TokenAmount` (attoFIL), `BigInt` | decimal string `"120"` |
//! | `Vec<u8>`, `RawBytes` | standard base64 with padding; empty is written `null` (Go's nil slice), read from `null` or `""` |
//! | `BitField` | run lengths, zeros first: `[5,1]` is {5}, `[0]` is empty |
//! | `Signature` | `{"Type":2,"Data":"base64"}` (1 secp256k1, 2 BLS) |
//! | `Option<T>` | `T` or `null` |
//! | `Vec<T>` | array; `null` is read as empty |

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cid::Cid;
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{
    address::{Address, Network},
    bigint::BigInt,
    crypto::signature::{Signature, SignatureType},
    econ::TokenAmount,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, str::FromStr};

/// A type of the chain that has a form in the node's JSON.
pub trait Wire: Sized {
    /// Writes the value in the form of the table above.
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error>;
    /// Reads the value; a wrong form is an error that names what was expected.
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error>;
}

/// For `#[serde(with = "…::wire")]`.
pub fn serialize<T: Wire, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    value.put(s)
}

/// For `#[serde(with = "…::wire")]`.
pub fn deserialize<'de, T: Wire, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    T::get(d)
}

/// A bare value in the node's JSON: `W(cid)` writes `{"/":…}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct W<T>(pub T);

impl<T: Wire> Serialize for W<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.put(s)
    }
}

impl<'de, T: Wire> Deserialize<'de> for W<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::get(d).map(W)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.put(s),
            None => s.serialize_none(),
        }
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<W<T>>::deserialize(d)?.map(|w| w.0))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        struct Item<'a, T>(&'a T);
        impl<T: Wire> Serialize for Item<'_, T> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                self.0.put(s)
            }
        }
        s.collect_seq(self.iter().map(Item))
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let items = Option::<Vec<W<T>>>::deserialize(d)?.unwrap_or_default();
        Ok(items.into_iter().map(|w| w.0).collect())
    }
}

#[derive(Serialize, Deserialize)]
struct Link<'a> {
    #[serde(rename = "/", borrow)]
    text: Cow<'a, str>,
}

impl Wire for Cid {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = Cow::Owned(self.to_string());
        Link { text }.serialize(s)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let link = Link::deserialize(d)?;
        Cid::from_str(&link.text)
            .map_err(|e| de::Error::custom(format!("{:?} is not a CID: {e}", link.text)))
    }
}

/// Reads an address with either network prefix.
pub fn parse_address(text: &str) -> Result<Address, fvm_shared::address::Error> {
    let network = match text.as_bytes().first() {
        Some(b'f') => Network::Mainnet,
        _ => Network::Testnet,
    };
    network.parse_address(text)
}

impl Wire for Address {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(d)?;
        parse_address(&text)
            .map_err(|e| de::Error::custom(format!("{text:?} is not an address: {e}")))
    }
}

impl Wire for BigInt {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // The longest amount on chain has 27 digits; a bound keeps a hostile peer from
        // making us square a megabyte of them.
        let text = Cow::<'_, str>::deserialize(d)?;
        if text.len() > 128 {
            return Err(de::Error::custom("a number of more than 128 digits"));
        }
        BigInt::from_str(&text)
            .map_err(|e| de::Error::custom(format!("{text:?} is not a decimal number: {e}")))
    }
}

impl Wire for TokenAmount {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.atto().put(s)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        BigInt::get(d).map(TokenAmount::from_atto)
    }
}

impl Wire for Vec<u8> {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() {
            return s.serialize_none();
        }
        s.serialize_str(&STANDARD.encode(self))
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(d)?.unwrap_or_default();
        STANDARD
            .decode(text.as_bytes())
            .map_err(|e| de::Error::custom(format!("bytes must be standard base64: {e}")))
    }
}

impl Wire for RawBytes {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() {
            return s.serialize_none();
        }
        s.serialize_str(&STANDARD.encode(self.bytes()))
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::<u8>::get(d).map(RawBytes::new)
    }
}

impl Wire for BitField {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut runs = Vec::new();
        let mut end = 0;
        for ones in self.ranges() {
            // Adjacent ranges do not occur: `ranges` merges them.
            runs.push(ones.start - end);
            runs.push(ones.end - ones.start);
            end = ones.end;
        }
        if runs.is_empty() {
            runs.push(0);
        }
        runs.serialize(s)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let runs = Option::<Vec<u64>>::deserialize(d)?.unwrap_or_default();
        let mut ranges = Vec::with_capacity(runs.len() / 2);
        let mut end = 0_u64;
        for (i, run) in runs.iter().enumerate() {
            if *run == 0 && i > 0 {
                return Err(de::Error::custom(
                    "a bitfield has a run of length zero that is not the first",
                ));
            }
            let start = end;
            end = start
                .checked_add(*run)
                .ok_or_else(|| de::Error::custom("a bitfield reaches beyond 2^64"))?;
            if i % 2 == 1 {
                ranges.push(start..end);
            }
        }
        Ok(BitField::from_ranges(fvm_ipld_bitfield::iter::Ranges::new(
            ranges,
        )))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SignatureJson {
    r#type: SignatureNumber,
    data: W<Vec<u8>>,
}

/// Lotus writes the number; Forest may also send the name.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SignatureNumber {
    Number(u8),
    Name(String),
}

impl Wire for Signature {
    fn put<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        SignatureJson {
            r#type: SignatureNumber::Number(self.sig_type as u8),
            data: W(self.bytes.clone()),
        }
        .serialize(s)
    }
    fn get<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = SignatureJson::deserialize(d)?;
        let sig_type = match &raw.r#type {
            SignatureNumber::Number(1) => SignatureType::Secp256k1,
            SignatureNumber::Number(2) => SignatureType::BLS,
            SignatureNumber::Name(n) if n.eq_ignore_ascii_case("secp256k1") => {
                SignatureType::Secp256k1
            }
            SignatureNumber::Name(n) if n.eq_ignore_ascii_case("bls") => SignatureType::BLS,
            SignatureNumber::Number(n) => {
                return Err(de::Error::custom(format!(
                    "signature type {n} is not served; 1 is secp256k1, 2 is BLS"
                )));
            }
            SignatureNumber::Name(n) => {
                return Err(de::Error::custom(format!(
                    "signature type {n:?} is not served; 1 is secp256k1, 2 is BLS"
                )));
            }
        };
        Ok(Signature {
            sig_type,
            bytes: raw.data.0,
        })
    }
}

/// Go's undefined address inside a struct that has no pointer: written `"<empty>"`, read from
/// that, from `""` and from `null` (Forest). Field form: `#[serde(with = "crate::wire::undef")]`.
pub mod undef {
    use super::{Address, Cow, Wire, de, parse_address};
    use serde::{Deserialize, Deserializer, Serializer};

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(value: &Option<Address>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(address) => address.put(s),
            None => s.serialize_str("<empty>"),
        }
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Address>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(d)?.unwrap_or_default();
        if text.is_empty() || text == "<empty>" {
            return Ok(None);
        }
        parse_address(&text)
            .map(Some)
            .map_err(|e| de::Error::custom(format!("{text:?} is not an address: {e}")))
    }
}

/// Sequences of our own shapes, where Go may write `null` for an empty one.
/// An empty list is written `null`, as Go writes a slice that was never made. Field form:
/// `#[serde(serialize_with = "crate::wire::or_null")]`.
pub(crate) fn or_null<T: Serialize, S: Serializer>(list: &Vec<T>, s: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() {
        return s.serialize_none();
    }
    list.serialize(s)
}

/// The same for a list of the chain's own types.
pub(crate) fn wire_or_null<T: Wire, S: Serializer>(list: &Vec<T>, s: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() {
        return s.serialize_none();
    }
    list.put(s)
}

/// Field form: `#[serde(deserialize_with = "crate::wire::or_empty")]`.
pub(crate) fn or_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json, to_value};

    fn both<T: Wire + PartialEq + std::fmt::Debug>(value: T, form: Value) {
        let value = W(value);
        assert_eq!(to_value(&value).unwrap(), form);
        assert_eq!(from_value::<W<T>>(form).unwrap(), value);
    }

    const CID: &str = "bafy2bzacea3wsdh6y3a36tb3skempjoxqpuyompjbmfeyf34fi3uy6uue42v4";

    #[test]
    fn scalars() {
        both(Cid::from_str(CID).unwrap(), json!({"/": CID}));
        both(TokenAmount::from_atto(120), json!("120"));
        both(BigInt::from(-5), json!("-5"));
        both(b"byte array".to_vec(), json!("Ynl0ZSBhcnJheQ=="));
        both(Vec::<u8>::new(), Value::Null);
        both(RawBytes::new(vec![1, 2, 3]), json!("AQID"));
        both(None::<Cid>, Value::Null);
        both(vec![TokenAmount::from_atto(1)], json!(["1"]));
        both(
            Signature {
                sig_type: SignatureType::BLS,
                bytes: vec![1],
            },
            json!({"Type": 2, "Data": "AQ=="}),
        );
    }

    #[test]
    fn bitfields_are_run_lengths_that_start_with_zeros() {
        let bits = |b: &[u64]| BitField::try_from_bits(b.iter().copied()).unwrap();
        both(bits(&[]), json!([0]));
        both(bits(&[5]), json!([5, 1]));
        both(bits(&[0, 1, 2, 7]), json!([0, 3, 4, 1]));
        assert!(from_value::<W<BitField>>(Value::Null).unwrap().0.is_empty());
        assert!(from_value::<W<BitField>>(json!([])).unwrap().0.is_empty());
        for bad in [json!([5, 0]), json!([1, u64::MAX]), json!([-1]), json!("5")] {
            assert!(from_value::<W<BitField>>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_with_either_prefix() {
        let id = Address::new_id(1000);
        assert_eq!(from_value::<W<Address>>(json!("t01000")).unwrap().0, id);
        assert_eq!(from_value::<W<Address>>(json!("f01000")).unwrap().0, id);
        for bad in ["", "x01000", "t0", "t09x", "<empty>"] {
            assert!(from_value::<W<Address>>(json!(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn undefined_addresses() {
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        struct S(#[serde(with = "undef")] Option<Address>);
        assert_eq!(to_value(S(None)).unwrap(), json!("<empty>"));
        for form in [json!("<empty>"), json!(""), Value::Null] {
            assert_eq!(from_value::<S>(form).unwrap(), S(None));
        }
        assert_eq!(
            from_value::<S>(json!("t05")).unwrap(),
            S(Some(Address::new_id(5)))
        );
    }

    #[test]
    fn wrong_forms_are_refused_with_a_reason() {
        let why = |r: Result<W<Cid>, serde_json::Error>| r.unwrap_err().to_string();
        assert!(why(from_value(json!({"/": "nope"}))).contains("not a CID"));
        assert!(from_value::<W<Cid>>(json!(CID)).is_err());
        assert!(from_value::<W<TokenAmount>>(json!(120)).is_err());
        assert!(from_value::<W<TokenAmount>>(json!("1.5")).is_err());
        assert!(from_value::<W<BigInt>>(json!("9".repeat(129))).is_err());
        assert!(from_value::<W<Vec<u8>>>(json!("*")).is_err());
        assert!(from_value::<W<Signature>>(json!({"Type": 3, "Data": ""})).is_err());
    }
}
