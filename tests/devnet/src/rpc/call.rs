//! What a method gets and what it may fail with, in go-jsonrpc's terms.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// A failed call. Codes: -32700 text or parameter could not be read, -32600 no request,
/// -32601 no such method (or not over this transport), -32602 wrong number of parameters,
/// 1 the method itself failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
}

impl RpcError {
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    pub(crate) const NO_METHOD: i64 = -32601;
    pub(crate) const WRONG_COUNT: i64 = -32602;
    const FAILED: i64 = 1;

    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        RpcError {
            code,
            message: message.into(),
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

failed_from!(
    crate::view::StateError,
    crate::outbox::PushError,
    crate::wallet::WalletError
);

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
            RpcError::new(
                RpcError::PARSE,
                format!(
                    "unmarshaling params for '{}' (param: {index}): {e}",
                    self.method
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
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
        assert!(error.message.contains("'M' (param: 1)"), "{error:?}");
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
