//! Amounts of FIL, and addresses, as configuration files write them.

use damocles_daemon::config::{Kind, Value};
use fvm_shared::{
    address::{Address, Network},
    bigint::BigInt,
    econ::TokenAmount,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// An amount: `"5 nanoFIL"`, `"0.1 fil"`, `"1attofil"`; the empty text means "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fil(pub Option<TokenAmount>);

/// A text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of FIL; write for example \"5 nanoFIL\" or \"0.1 FIL\"")]
pub(super) struct FilError(String);

impl Fil {
    pub(super) fn nano(n: u64) -> Self {
        Self(Some(TokenAmount::from_nano(n)))
    }

    pub(super) fn whole(n: u64) -> Self {
        Self(Some(TokenAmount::from_whole(n)))
    }

    /// The amount when it is set and not zero.
    pub(super) fn set(&self) -> Option<&TokenAmount> {
        self.0.as_ref().filter(|amount| !amount.is_zero())
    }
}

fn amount(text: &str) -> Option<TokenAmount> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // upstream's limit on the length, so that nobody computes with megabytes of digits
    if number.len() > 50 {
        return None;
    }
    let decimals = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "fil" => 18,
        "nanofil" | "nfil" => 9,
        "attofil" | "afil" => 0,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return None; // less than an attoFIL
    }
    let digits = format!("{whole}{fraction:0<decimals$}");
    if digits.is_empty() {
        return Some(TokenAmount::default());
    }
    digits.parse::<BigInt>().ok().map(TokenAmount::from_atto)
}

impl FromStr for Fil {
    type Err = FilError;

    fn from_str(text: &str) -> Result<Self, FilError> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        amount(text)
            .map(|a| Self(Some(a)))
            .ok_or_else(|| FilError(text.to_owned()))
    }
}

impl fmt::Display for Fil {
    /// With the largest unit in which it is at least 1, exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(amount) = self.0.as_ref() else {
            return Ok(());
        };
        let atto = amount.atto().to_string();
        let (decimals, unit) = match atto.len() {
            _ if atto == "0" => return f.write_str("0"),
            19.. => (18, "FIL"),
            10.. => (9, "nanoFIL"),
            _ => (0, "attoFIL"),
        };
        let (whole, fraction) = atto.split_at(atto.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole} {unit}"),
            fraction => write!(f, "{whole}.{fraction} {unit}"),
        }
    }
}

impl Serialize for Fil {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fil {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl Value for Fil {
    fn kind() -> Kind {
        Kind::Leaf("FIL amount".into())
    }
}

/// An address, `f…` or `t…`; `<empty>` means "not set".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressText(pub Option<Address>);

impl FromStr for AddressText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "<empty>" || text.is_empty() {
            return Ok(Self(None));
        }
        [Network::Mainnet, Network::Testnet]
            .into_iter()
            .find_map(|network| network.parse_address(text).ok())
            .map(|address| Self(Some(address)))
            .ok_or_else(|| {
                format!("{text:?} is not a Filecoin address; it looks like f01000, f1…, f3… or t3…")
            })
    }
}

impl Serialize for AddressText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => s.collect_str(&address),
            None => s.serialize_str("<empty>"),
        }
    }
}

impl<'de> Deserialize<'de> for AddressText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl Value for AddressText {
    fn kind() -> Kind {
        Kind::Leaf("address".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, atto, again) in [
            ("5 nanoFIL", "5000000000", "5 nanoFIL"),
            ("1attofil", "1", "1 attoFIL"),
            ("2", "2000000000000000000", "2 FIL"),
            ("0.1 fil", "100000000000000000", "100000000 nanoFIL"),
            (
                "1.500000000000000001 FIL",
                "1500000000000000001",
                "1.500000000000000001 FIL",
            ),
            ("1.50 afil", "", ""),
            ("1.0 afil", "1", "1 attoFIL"),
            ("0", "0", "0"),
            ("0.0 FIL", "0", "0"),
        ] {
            match text.parse::<Fil>() {
                Ok(fil) => {
                    assert_eq!(fil.0.as_ref().unwrap().atto().to_string(), atto, "{text}");
                    assert_eq!(fil.to_string(), again, "{text}");
                    assert_eq!(fil.to_string().parse::<Fil>().unwrap(), fil);
                }
                Err(_) => assert!(atto.is_empty(), "{text}"),
            }
        }
        assert_eq!("".parse(), Ok(Fil(None)));
        for bad in ["fil", "-1", "1 eth", "1,5 FIL", "1e3", "..1", "."] {
            assert!(bad.parse::<Fil>().is_err(), "{bad}");
        }
    }

    #[test]
    fn both_networks_prefixes_are_read() {
        for text in ["f01000", "t01000"] {
            let AddressText(address) = text.parse().unwrap();
            assert_eq!(address, Some(Address::new_id(1000)));
        }
        assert_eq!("<empty>".parse(), Ok(AddressText(None)));
        for bad in ["x01000", "1000", "f0", "f1abc"] {
            assert!(bad.parse::<AddressText>().is_err(), "{bad}");
        }
    }
}
