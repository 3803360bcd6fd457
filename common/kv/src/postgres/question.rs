//! What the server is asked: a statement, and the values that it is about.

use tokio_postgres::types::{ToSql, Type};

/// A statement with its values: `$1` is the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Question {
    pub(super) text: String,
    values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Number(i64),
    AllBytes(Vec<Vec<u8>>),
    Numbers(Vec<i64>),
}

impl Value {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => number,
            Self::AllBytes(all) => all,
            Self::Numbers(numbers) => numbers,
        }
    }

    fn kind(&self) -> (Type, &'static str) {
        match self {
            Self::Bytes(_) => (Type::BYTEA, "BYTEA"),
            Self::Number(_) => (Type::INT8, "BIGINT"),
            Self::AllBytes(_) => (Type::BYTEA_ARRAY, "BYTEA[]"),
            Self::Numbers(_) => (Type::INT8_ARRAY, "BIGINT[]"),
        }
    }
}

impl Question {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// The same with a value more.
    #[must_use]
    pub(super) fn with(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    /// How the statement names a value that it is about.
    pub(super) fn about(&mut self, value: Value) -> String {
        let kind = value.kind().1;
        self.values.push(value);
        format!("${}::{kind}", self.values.len())
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(Value::as_sql).collect()
    }

    pub(super) fn kinds(&self) -> Vec<Type> {
        self.values.iter().map(|value| value.kind().0).collect()
    }
}
