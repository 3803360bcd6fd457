//! The deserializer over the parsed TOML tree: it knows where each value stands, matches keys
//! by the rules, and leaves out values that had a fault in an earlier round.

use super::rules::{Node, Reader, join, nearest};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    ops::Range,
};
use toml::de::DeValue;

/// A value that does not fit, and where it stands (line 0: unknown).
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) message: String,
    pub(super) place: Option<(String, usize)>,
}

impl ReadError {
    fn at(mut self, path: &str, line: usize) -> Self {
        self.place.get_or_insert_with(|| (path.to_owned(), line));
        self
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            place: None,
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!(
            "must be {}, but is {}",
            plain_type(expected),
            plain_value(found)
        ))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!(
            "{variant:?} is not one of the choices{}",
            nearest(variant, expected)
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("{field} is missing"))
    }
}

fn plain_type(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" => "a text in quotes".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}

fn plain_value(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Str(s) => format!("the text {s:?}"),
        de::Unexpected::Bool(b) => b.to_string(),
        de::Unexpected::Unsigned(n) => n.to_string(),
        de::Unexpected::Signed(n) => n.to_string(),
        de::Unexpected::Float(n) => n.to_string(),
        de::Unexpected::Seq => "a list".into(),
        de::Unexpected::Map | de::Unexpected::StructVariant => "a table".into(),
        other => other.to_string(),
    }
}

/// One place in the tree.
pub(super) struct At<'r, 'd> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) node: &'d Node<'d>,
    pub(super) path: String,
}

impl<'d> At<'_, 'd> {
    fn here(&self) -> (String, usize) {
        (
            self.path.clone(),
            self.reader.lines.of(self.node.span().start),
        )
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let (path, line) = self.here();
        let result = match self.node.get_ref() {
            DeValue::String(s) => visitor.visit_str(s),
            DeValue::Boolean(b) => visitor.visit_bool(*b),
            DeValue::Datetime(d) => visitor.visit_str(&d.to_string()),
            DeValue::Float(f) => match f.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::custom(format!("{f} is not a number"))),
            },
            DeValue::Integer(n) => match i128::from_str_radix(n.as_str(), n.radix()) {
                Ok(number) => match (u64::try_from(number), i64::try_from(number)) {
                    (Ok(n), _) => visitor.visit_u64(n),
                    (_, Ok(n)) => visitor.visit_i64(n),
                    _ => Err(de::Error::custom(format!("{number} is too large"))),
                },
                Err(_) => Err(de::Error::custom(format!("{n} is too large"))),
            },
            DeValue::Array(list) => visitor.visit_seq(Items {
                reader: self.reader,
                list: list.iter().enumerate(),
                path: self.path,
            }),
            DeValue::Table(table) => {
                let entries = table
                    .iter()
                    .map(|(key, node)| (key.get_ref().as_ref(), key.span(), node))
                    .collect::<Vec<_>>();
                // keys that people choose have their lines, too
                for (key, span, _) in &entries {
                    self.reader.place(span, &join(&self.path, key));
                }
                visitor.visit_map(Entries::new(self.reader, self.path, entries))
            }
        };
        result.map_err(|e: ReadError| e.at(&path, line))
    }
}

impl<'de> de::Deserializer<'de> for At<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let (path, line) = self.here();
        let result = match self.node.get_ref() {
            DeValue::String(s) => visitor.visit_enum(s.as_ref().into_deserializer()),
            other => Err(de::Error::custom(format!(
                "must be a text in quotes, but is a {}",
                other.type_str()
            ))),
        };
        result.map_err(|e: ReadError| e.at(&path, line))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let (path, line) = self.here();
        let DeValue::Table(table) = self.node.get_ref() else {
            return self.visit(visitor);
        };
        let rules = self.reader.rules;
        let mut entries: BTreeMap<&'static str, (Range<usize>, &Node<'_>)> = BTreeMap::new();
        // in the file's order, so that "given twice" names the second one
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, node) in keys {
            let name: &str = key.get_ref();
            let field = fields
                .iter()
                .find(|f| **f == name)
                .or_else(|| fields.iter().find(|f| rules.same(f, name)));
            match field {
                None => self.reader.foreign(key, join(&path, name), node, fields),
                Some(field) => {
                    let full = join(&path, field);
                    if let Some((first, _)) = entries.get(field) {
                        let line = self.reader.lines.of(first.start);
                        let message = format!("given twice; it stands on line {line} too");
                        self.reader.fault(&key.span(), &full, message);
                    } else {
                        self.reader.place(&key.span(), &full);
                        entries.insert(field, (key.span(), node));
                    }
                }
            }
        }
        let entries = entries.into_iter().map(|(k, (s, n))| (k, s, n)).collect();
        visitor
            .visit_map(Entries::new(self.reader, path.clone(), entries))
            .map_err(|e| e.at(&path, line))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'r, 'd> {
    reader: &'r Reader<'r>,
    list: std::iter::Enumerate<std::slice::Iter<'d, Node<'d>>>,
    path: String,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        for (index, node) in self.list.by_ref() {
            let path = format!("{}[{index}]", self.path);
            if self.reader.skip.borrow().contains(&path) {
                continue;
            }
            self.reader.place(&node.span(), &path);
            let at = At {
                reader: self.reader,
                node,
                path,
            };
            return seed.deserialize(at).map(Some);
        }
        Ok(None)
    }
}

struct Entries<'r, 'd> {
    reader: &'r Reader<'r>,
    path: String,
    rest: std::vec::IntoIter<(&'d str, Range<usize>, &'d Node<'d>)>,
    next: Option<(String, usize, &'d Node<'d>)>,
}

impl<'r, 'd> Entries<'r, 'd> {
    fn new(
        reader: &'r Reader<'r>,
        path: String,
        entries: Vec<(&'d str, Range<usize>, &'d Node<'d>)>,
    ) -> Self {
        Self {
            reader,
            path,
            rest: entries.into_iter(),
            next: None,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        for (key, span, node) in self.rest.by_ref() {
            let full = join(&self.path, key);
            if self.reader.skip.borrow().contains(&full) {
                continue;
            }
            let line = self.reader.lines.of(span.start);
            self.next = Some((full.clone(), line, node));
            return seed
                .deserialize(key.into_deserializer())
                .map(Some)
                .map_err(|e: ReadError| e.at(&full, line));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((path, line, node)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let at = At {
            reader: self.reader,
            node,
            path: path.clone(),
        };
        seed.deserialize(at).map_err(|e| e.at(&path, line))
    }
}
