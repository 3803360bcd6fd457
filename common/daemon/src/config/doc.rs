//! A configuration's documents, made from its sections: the reference page, and the commented
//! file that `daemon init` writes.

use super::section::{KeyDoc, Kind, Sheet, Value};
use std::fmt::Write;

fn sheet_of<T: Value>() -> Sheet {
    match T::kind() {
        Kind::Table(sheet) | Kind::Tables(sheet) => sheet,
        Kind::Leaf(_) => Sheet {
            doc: Vec::new(),
            keys: Vec::new(),
            defaults: toml::Table::new(),
        },
    }
}

/// A default as it would be written in the file; empty: unset.
fn default_text(sheet: &Sheet, key: &KeyDoc) -> String {
    sheet
        .defaults
        .get(key.name)
        .map_or_else(String::new, ToString::to_string)
}

/// The reference page: a table of keys per section.
pub fn markdown<T: Value>() -> String {
    let mut out = String::new();
    section_markdown(&mut out, &sheet_of::<T>(), "", "");
    out
}

fn section_markdown(out: &mut String, sheet: &Sheet, path: &str, header: &str) {
    let leaves: Vec<(&KeyDoc, &String)> = sheet
        .keys
        .iter()
        .filter_map(|k| match &k.kind {
            Kind::Leaf(words) => Some((k, words)),
            _ => None,
        })
        .collect();
    let says_something = !leaves.is_empty() || !sheet.doc.is_empty();
    if !header.is_empty() && says_something {
        // writing to a String cannot fail
        let _ = writeln!(out, "## `{header}`\n");
        if !sheet.doc.is_empty() {
            let _ = writeln!(out, "{}\n", sheet.doc.join(" "));
        }
    }
    if !leaves.is_empty() {
        out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for (key, words) in leaves {
            let default = match default_text(sheet, key) {
                text if text.is_empty() => "—".to_owned(),
                text => format!("`{text}`"),
            };
            let doc = key.doc.join(" ").replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {words} | {default} | {doc} |", key.name);
        }
        out.push('\n');
    }
    for key in &sheet.keys {
        let path = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        match &key.kind {
            Kind::Table(inner) => section_markdown(out, inner, &path, &format!("[{path}]")),
            Kind::Tables(inner) => section_markdown(out, inner, &path, &format!("[[{path}]]")),
            Kind::Leaf(_) => {}
        }
    }
}

/// A file with every key at its default, commented out, each with its document.
pub fn commented_default<T: Value>() -> String {
    let mut out = String::new();
    section_file(&mut out, &sheet_of::<T>(), "", false);
    out
}

/// Columns of a comment in the file.
const WIDTH: usize = 98;

/// A document as a comment, broken between words whatever its length was.
fn comment(out: &mut String, doc: &[&'static str]) {
    let mut line = String::from("#");
    for word in doc.iter().flat_map(|text| text.split_whitespace()) {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > 1 {
        let _ = writeln!(out, "{line}");
    }
}

fn section_file(out: &mut String, sheet: &Sheet, path: &str, list: bool) {
    let has_leaves = sheet.keys.iter().any(|k| matches!(k.kind, Kind::Leaf(_)));
    if !path.is_empty() && (has_leaves || list) {
        out.push('\n');
        comment(out, &sheet.doc);
        let _ = match list {
            true => writeln!(out, "#[[{path}]]"),
            false => writeln!(out, "#[{path}]"),
        };
    }
    for key in &sheet.keys {
        if let Kind::Leaf(words) = &key.kind {
            comment(out, &key.doc);
            let _ = match default_text(sheet, key) {
                text if text.is_empty() => writeln!(out, "#{} = # {words}", key.name),
                text => writeln!(out, "#{} = {text}", key.name),
            };
        }
    }
    for key in &sheet.keys {
        let path = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        match &key.kind {
            Kind::Table(inner) => section_file(out, inner, &path, false),
            Kind::Tables(inner) => section_file(out, inner, &path, true),
            Kind::Leaf(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::section! {
        /// How the node is reached.
        struct Api {
            /// Address of the node.
            "Chain" chain: Option<String> = None;
            /// Seconds between
            /// two tries.
            "Wait" wait: u64 = 5;
        }
    }

    crate::section! {
        struct Root {
            "API" api: Api = Api::default();
            "Miners" miners: Vec<Api> = vec![];
        }
    }

    #[test]
    fn page_and_file_come_from_the_declaration() {
        assert_eq!(
            markdown::<Root>().lines().take(8).collect::<Vec<_>>(),
            [
                "## `[API]`",
                "",
                "How the node is reached.",
                "",
                "| key | value | default | meaning |",
                "|---|---|---|---|",
                "| `Chain` | text | — | Address of the node. |",
                "| `Wait` | whole number | `5` | Seconds between two tries. |",
            ]
        );
        let file = commented_default::<Root>();
        assert!(file.contains("#[API]\n# Address of the node.\n#Chain = # text\n# Seconds between two tries.\n#Wait = 5\n"), "{file}");
        assert!(file.contains("#[[Miners]]"), "{file}");
        assert!(file.lines().all(|l| l.is_empty() || l.starts_with('#')));
    }

    #[test]
    fn a_long_document_is_broken_between_words() {
        let mut out = String::new();
        comment(&mut out, &["a sentence that goes on and ends here."; 20]);
        assert!(out.lines().count() > 5);
        for line in out.lines() {
            assert!(line.len() <= WIDTH && line.starts_with("# "), "{line}");
        }
        let words: Vec<&str> = out.split_whitespace().filter(|w| *w != "#").collect();
        assert_eq!(words.len(), 8 * 20, "nothing is lost");
        comment(&mut out, &[]);
        comment(&mut out, &[""]);
        assert!(!out.lines().any(|line| line == "#"), "no empty comment");
    }
}
