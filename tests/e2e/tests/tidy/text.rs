//! What is told to people: documents, examples, and the sentences in the sources (texts and
//! doc comments, tests left out), cut into runs that a reader takes as one.

use crate::{all_sources, root, slope};
use proc_macro2::{TokenStream, TokenTree};
use std::{fs, path::Path};

/// A paragraph, a line of a code block, or a line of a program's text.
#[derive(Debug)]
pub(crate) struct Run {
    /// The file, from the root.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// Every file of a folder and below with one of these endings, as path from the root.
pub(crate) fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings
                .iter()
                .any(|end| path.to_string_lossy().ends_with(end))
            {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The documents: what lies at the top, in docs/ and beside the examples.
pub(crate) fn documents() -> Vec<String> {
    let mut found = files("docs", &[".md"]);
    found.extend(files("config-examples", &[".md"]));
    found.extend(files(".github", &[".md"]));
    let top = fs::read_dir(root()).unwrap();
    found.extend(
        top.filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.ends_with(".md")),
    );
    found.sort();
    found
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Everything that is told to people.
pub(crate) fn told() -> Vec<Run> {
    let mut runs = Vec::new();
    for place in documents() {
        runs.extend(markdown(&place, &read(&place)));
    }
    for place in files("config-examples", &[".toml", ".cfg", ".service"]) {
        for line in read(&place).lines() {
            runs.push(Run {
                place: place.clone(),
                text: line.trim_start_matches(['#', ' ']).to_owned(),
            });
        }
    }
    for source in all_sources() {
        if is_test_file(&source.path) {
            continue;
        }
        let mut texts = Texts::default();
        texts.read(source.tokens());
        texts.end_of_comment();
        for comment in texts.comments {
            runs.extend(markdown(&source.path, &comment));
        }
        for text in texts.strings {
            runs.extend(text.lines().map(|line| Run {
                place: source.path.clone(),
                text: line.to_owned(),
            }));
        }
    }
    runs
}

pub(crate) fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || {
        let stem = Path::new(path).file_stem().unwrap().to_string_lossy();
        stem == "tests" || stem.ends_with("_tests")
    }
}

/// Paragraphs as one line each; lines of code blocks and of tables for themselves.
fn markdown(place: &str, text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut code = false;
    let mut paragraph = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            code = !code;
            paragraph = false;
            continue;
        }
        let alone = code || trimmed.starts_with(['|', '#']);
        match runs.last_mut() {
            Some(last) if paragraph && !alone && !trimmed.is_empty() => {
                last.text.push(' ');
                last.text.push_str(trimmed);
            }
            _ => runs.push(Run {
                place: place.to_owned(),
                text: trimmed.to_owned(),
            }),
        }
        paragraph = !alone && !trimmed.is_empty();
    }
    runs
}

/// Texts and doc comments of a file.
#[derive(Default)]
struct Texts {
    strings: Vec<String>,
    comments: Vec<String>,
    comment: Vec<String>,
    /// Whether the comment is of what surrounds it (`//!`).
    inner: bool,
}

impl Texts {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    if slope::is_test_only(tokens.get(at + 1)) {
                        self.end_of_comment();
                        at = slope::after_item(&tokens, at);
                        continue;
                    }
                    let inner = matches!(tokens.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == '!');
                    if let Some(line) = doc(tokens.get(at + 1 + usize::from(inner))) {
                        if inner != self.inner {
                            self.end_of_comment();
                        }
                        self.inner = inner;
                        self.comment.push(line);
                        at += 2 + usize::from(inner);
                        continue;
                    }
                    self.end_of_comment();
                }
                TokenTree::Group(group) => {
                    self.end_of_comment();
                    self.read(group.stream());
                }
                TokenTree::Literal(literal) => {
                    self.end_of_comment();
                    self.strings.extend(unquoted(&literal.to_string()));
                }
                _ => self.end_of_comment(),
            }
            at += 1;
        }
    }

    fn end_of_comment(&mut self) {
        if !self.comment.is_empty() {
            self.comments
                .push(std::mem::take(&mut self.comment).join("\n"));
        }
    }
}

/// The line of `[doc = "…"]`.
fn doc(token: Option<&TokenTree>) -> Option<String> {
    let Some(TokenTree::Group(group)) = token else {
        return None;
    };
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    match tokens.as_slice() {
        [
            TokenTree::Ident(word),
            TokenTree::Punct(_),
            TokenTree::Literal(text),
        ] if word == "doc" => unquoted(&text.to_string()),
        _ => None,
    }
}

/// What a text literal says; None: it is none.
fn unquoted(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('r') {
        return raw
            .trim_matches('#')
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .map(str::to_owned);
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::new();
    let mut rest = inner.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some('\n')) => {
                while rest.peek().is_some_and(|c| c.is_whitespace()) {
                    rest.next();
                }
            }
            ('\\', Some(_)) => match rest.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(c),
        }
    }
    Some(out)
}

#[test]
fn texts_are_read_as_people_read_them() {
    let source = r#"
        //! One
        //! two.
        /// A `b`.
        struct S;
        const T: &str = "say \"x\" and \
            go on\nnext";
        #[cfg(test)]
        mod tests { const U: &str = "not told"; }
        #[error("raised")]
        struct E;
    "#;
    let mut texts = Texts::default();
    texts.read(source.parse().unwrap());
    texts.end_of_comment();
    assert_eq!(texts.comments, [" One\n two.", " A `b`."]);
    assert_eq!(texts.strings, ["say \"x\" and go on\nnext", "raised"]);
    let runs = markdown("x", "a\nb\n\n```sh\nc\nd\n```\n| e |\n| f |\n");
    let runs: Vec<&str> = runs.iter().map(|run| run.text.as_str()).collect();
    assert_eq!(runs, ["a b", "", "c", "d", "| e |", "| f |"]);
}
