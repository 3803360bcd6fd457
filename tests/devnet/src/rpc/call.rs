//! What a method gets and what it may fail with, in go-jsonrpc's terms.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::outbox::PushError;

/// A failed call. Codes: -32700 text or parameter could not be read, -32600 no request,
/// -32601 no such method (or not over this transport), -32602 wrong number of parameters,
/// 1 the method itself failed, 3 the message that was tried would fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    /// What the failed run returned; with code 3 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'static str>,
}

impl RpcError {
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    pub(crate) const NO_METHOD: i64 = -32601;
    pub(crate) const WRONG_COUNT: i64 = -32602;
    const FAILED: i64 = 1;
    const WOULD_FAIL: i64 = 3;

    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        RpcError {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The method ran and failed.
    pub(crate) fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(Self::FAILED, message.to_string())
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => { $(impl From<$error> for RpcError {
        fn from(error: $error) -> Self {
            RpcError::failed(error)
        }
    })* };
}

failed_from!(crate::view::StateError, crate::wallet::WalletError);

impl From<PushError> for RpcError {
    fn from(error: PushError) -> Self {
        let mut said = RpcError::failed(&error);
        if matches!(error, PushError::EstimateFailed { .. }) {
            said.code = Self::WOULD_FAIL;
            said.data = Some("0x");
        }
        said
    }
}

impl From<anyhow::Error> for RpcError {
    fn from(error: anyhow::Error) -> Self {
        RpcError::failed(format!("{error:#}"))
    }
}

/// The result of a method, already JSON text.
pub(crate) type Answer = Result<Box<RawValue>, RpcError>;

/// Makes the JSON text of a result.
pub(crate) fn answer<T: Serialize>(value: T) -> Answer {
    serde_json::value::to_raw_value(&value).map_err(RpcError::failed)
}

/// The parameters of one call, by position.
#[derive(Debug)]
pub struct Params {
    method: &'static str,
    values: Vec<Box<RawValue>>,
}

impl Params {
    /// Splits the array. `null` or no array stands for no parameters; the number must be
    /// right, optional ones included, as go-jsonrpc asks.
    pub(crate) fn read(
        method: &'static str,
        wanted: usize,
        raw: Option<&RawValue>,
    ) -> Result<Self, RpcError> {
        let values = match raw {
            None => Vec::new(),
            Some(raw) => serde_json::from_str::<Option<Vec<Box<RawValue>>>>(raw.get())
                .map_err(|e| {
                    RpcError::new(RpcError::PARSE, format!("unmarshaling param array: {e}"))
                })?
                .unwrap_or_default(),
        };
        if values.len() != wanted {
            return Err(RpcError::new(
                RpcError::WRONG_COUNT,
                format!(
                    "wrong param count (method '{method}'): {} != {wanted}",
                    values.len()
                ),
            ));
        }
        Ok(Params { method, values })
    }

    /// The parameter at that place as a `T`.
    pub(crate) fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        let text = self.values.get(index).map_or("null", |raw| raw.get());
        serde_json::from_str(text).map_err(|e| {
            let why = match e.to_string() {
                told if told.contains("is not an address") => address_fault(text).to_owned(),
                told => told,
            };
            RpcError::new(
                RpcError::PARSE,
                format!(
                    "unmarshaling params for '{}' (param: {}): {why}",
                    self.method,
                    go_pointer(std::any::type_name::<T>()),
                ),
            )
        })
    }
}

/// How Go names a pointer to the parameter that a type of ours stands for.
fn go_pointer(ours: &str) -> &'static str {
    let names = [
        ("SignedMessage", "**types.SignedMessage"),
        ("Message", "**types.Message"),
        ("SendSpec", "**api.MessageSendSpec"),
        ("TipSetKey", "*types.TipSetKey"),
        ("Signature", "**crypto.Signature"),
        ("SectorPreCommitInfo", "*miner.SectorPreCommitInfo"),
        ("KeyInfo", "**types.KeyInfo"),
        ("KeyType", "*types.KeyType"),
        ("BitField", "**bitfield.BitField"),
        ("Address", "*address.Address"),
        ("Cid", "*cid.Cid"),
        ("Vec<u8>", "*[]uint8"),
        ("String", "*string"),
        ("bool", "*bool"),
        ("u64", "*uint64"),
        ("i64", "*int64"),
        ("f64", "*float64"),
    ];
    let known = names.iter().find(|(name, _)| ours.contains(name));
    known.map_or("*json.RawMessage", |(_, go)| go)
}

/// What go-address says of the first text in a parameter that is no address.
fn address_fault(parameter: &str) -> &'static str {
    let texts = parameter.split('"').filter(|text| !text.is_empty());
    let mut faults = texts.filter(|text| damocles_node::wire::parse_address(text).is_err());
    // keys of an object are no addresses either; an address begins with its network
    match faults.find(|text| text.starts_with(['f', 't'])) {
        None => "unknown address network",
        Some(text) if !matches!(text.as_bytes().get(1), Some(b'0'..=b'4')) => {
            "unknown address protocol"
        }
        Some(_) => "invalid address checksum",
    }
}

#[cfg(test)]
mod tests {
    use fvm_shared::address::Address;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn parameters_are_counted_and_typed() {
        let two = raw("[1, \"x\"]");
        let params = Params::read("M", 2, Some(&two)).unwrap();
        assert_eq!(params.get::<u64>(0).unwrap(), 1);
        let error = params.get::<u64>(1).unwrap_err();
        assert_eq!(error.code, RpcError::PARSE);
        assert!(error.message.contains("'M' (param: *uint64)"), "{error:?}");
        let garbage = raw("[\"garbage\"]");
        let params = Params::read("M", 1, Some(&garbage)).unwrap();
        let error = params.get::<damocles_node::W<Address>>(0).unwrap_err();
        assert_eq!(
            error.message,
            "unmarshaling params for 'M' (param: *address.Address): unknown address network"
        );
        assert_eq!(
            Params::read("M", 3, Some(&two)).unwrap_err(),
            RpcError::new(-32602, "wrong param count (method 'M'): 2 != 3")
        );
        assert!(Params::read("M", 0, None).is_ok());
        assert!(Params::read("M", 0, Some(&raw("null"))).is_ok());
        let named = Params::read("M", 1, Some(&raw("{\"a\":1}"))).unwrap_err();
        assert_eq!(named.code, RpcError::PARSE);
    }
}
