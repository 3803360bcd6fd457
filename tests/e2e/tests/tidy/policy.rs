//! A key that changes nothing is a lie: every field of the manager's checked policies is read
//! by somebody who acts upon it.

use crate::{
    none, sources,
    text::{is_test_file, read},
};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;

const POLICY: &str = "damocles-manager/src/policy.rs";

/// Public fields of the structs of a file: `Struct.field`.
fn fields(tokens: TokenStream) -> Vec<(String, String)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for window in tokens.windows(3) {
        let [
            TokenTree::Ident(word),
            TokenTree::Ident(name),
            TokenTree::Group(body),
        ] = window
        else {
            continue;
        };
        if word != "struct" || body.delimiter() != Delimiter::Brace {
            continue;
        }
        let body: Vec<TokenTree> = body.stream().into_iter().collect();
        for part in body.windows(3) {
            if let [
                TokenTree::Ident(visibility),
                TokenTree::Ident(field),
                TokenTree::Punct(colon),
            ] = part
                && visibility == "pub"
                && colon.as_char() == ':'
            {
                found.push((name.to_string(), field.to_string()));
            }
        }
    }
    found
}

/// Fields that are read: `.name`, not called.
fn reads(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => reads(group.stream(), found),
            TokenTree::Ident(name) if at > 0 => {
                let dot = matches!(&tokens[at - 1], TokenTree::Punct(dot) if dot.as_char() == '.');
                if dot {
                    found.insert(name.to_string());
                }
            }
            _ => {}
        }
    }
}

#[test]
fn every_policy_field_has_a_reader() {
    let declared = fields(read(POLICY).parse().unwrap());
    assert!(declared.len() > 30, "only {} fields found", declared.len());
    let mut read = BTreeSet::new();
    for source in sources("damocles-manager") {
        let inside = source.path.starts_with("damocles-manager/src/")
            && !source.path.starts_with("damocles-manager/src/config/")
            && !is_test_file(&source.path);
        if inside {
            reads(source.tokens(), &mut read);
        }
    }
    let unread = declared
        .iter()
        .filter(|(_, field)| !read.contains(field))
        .map(|(name, field)| format!("{POLICY}: nobody acts upon {name}.{field}"));
    none(unread.collect());
}

#[test]
fn fields_and_their_readers_are_found() {
    let policy = "pub struct P { /// x\n pub a: bool, pub b: Vec<u64>, c: u8 } impl P { fn f(&self) { self.a } }";
    let found = fields(policy.parse().unwrap());
    let found: Vec<&str> = found.iter().map(|(_, field)| field.as_str()).collect();
    assert_eq!(found, ["a", "b"]);
    let mut read = BTreeSet::new();
    reads("if policy.a { x(b) }".parse().unwrap(), &mut read);
    assert_eq!(Vec::from_iter(read), ["a"]);
}
