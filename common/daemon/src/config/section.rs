//! A section of a configuration file as one table: key, field, type, default and document
//! stand in one place, so that none of them can lie about the others.

use damocles_types::Hidden;
use std::{collections::BTreeMap, path::PathBuf};

/// What a key holds.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A value, described in words.
    Leaf(String),
    /// A table `[Key]`.
    Table(Sheet),
    /// A list of tables `[[Key]]`.
    Tables(Sheet),
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyDoc {
    pub name: &'static str,
    pub doc: Vec<&'static str>,
    pub kind: Kind,
}

/// A section's keys, with the values they have when left out.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub doc: Vec<&'static str>,
    pub keys: Vec<KeyDoc>,
    pub defaults: toml::Table,
}

/// A type that a key can have.
pub trait Value {
    fn kind() -> Kind;
}

macro_rules! leaf {
    ($($type:ty => $words:literal),* $(,)?) => {
        $(impl Value for $type {
            fn kind() -> Kind {
                Kind::Leaf($words.to_owned())
            }
        })*
    };
}

leaf! {
    bool => "true or false",
    u8 => "whole number",
    u16 => "whole number",
    u32 => "whole number",
    u64 => "whole number",
    usize => "whole number",
    i64 => "whole number",
    f64 => "number",
    String => "text",
    PathBuf => "path",
    BTreeMap<String, String> => "table of texts",
    Hidden => "text",
    BTreeMap<String, Hidden> => "table of texts",
}

impl<T: Value> Value for Option<T> {
    fn kind() -> Kind {
        T::kind()
    }
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> Kind {
        match T::kind() {
            Kind::Leaf(words) => Kind::Leaf(format!("list of: {words}")),
            Kind::Table(sheet) | Kind::Tables(sheet) => Kind::Tables(sheet),
        }
    }
}

/// Declares a section: a struct with serde's traits, its defaults, and its documents.
///
/// ```
/// damocles_daemon::section! {
///     /// How the node is reached.
///     pub struct Api {
///         /// Address of the node.
///         "Chain" chain: Option<String> = None;
///         /// Seconds between two tries.
///         "Wait" wait: u64 = 5;
///     }
/// }
/// assert_eq!(Api::default().wait, 5);
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:literal $field:ident: $type:ty = $default:expr;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default)]
        $vis struct $name {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $key)]
                $vis $field: $type,
            )*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::Value for $name {
            fn kind() -> $crate::config::Kind {
                $crate::config::Kind::Table($crate::config::Sheet {
                    doc: vec![$($section_doc.trim()),*],
                    keys: vec![
                        $($crate::config::KeyDoc {
                            name: $key,
                            doc: vec![$($doc.trim()),*],
                            kind: <$type as $crate::config::Value>::kind(),
                        }),*
                    ],
                    defaults: $crate::config::defaults_of(&Self::default()),
                })
            }
        }
    };
}

/// A section's values as TOML; unset ones are left out.
pub fn defaults_of(section: &impl serde::Serialize) -> toml::Table {
    // a section holds only what TOML can say; its documents' tests would show an empty table
    toml::Table::try_from(section).unwrap_or_default()
}
