//! The slope between a crate's rooms: a file uses only rooms that `lib.rs` lists before its own.
//! And how a file's tokens are read for it.

use crate::{crates, none, root, sources};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

#[test]
fn water_runs_downhill() {
    let mut faults = Vec::new();
    for member in crates() {
        let Ok(lib) = fs::read_to_string(root().join(&member).join("src/lib.rs")) else {
            continue;
        };
        let lib: TokenStream = lib.parse().unwrap();
        let floors = modules(lib.clone());
        let exported = exports(lib);
        let floor = |name: &str| {
            let module = exported.get(name).map_or(name, String::as_str);
            floors.iter().position(|known| known == module)
        };
        for source in sources(&member) {
            let prefix = format!("{member}/src/");
            let Some(inside) = source.path.strip_prefix(&prefix) else {
                continue;
            };
            let mut path: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
            if path.last() == Some(&"mod") {
                path.pop();
            }
            // test modules in files of their own may look anywhere, like inline ones
            if path.last().is_some_and(|name| name.ends_with("tests")) {
                continue;
            }
            let Some(here) = floor(path[0]) else { continue };
            let mut used = BTreeSet::new();
            mentions(source.tokens(), path.len(), &mut used);
            for name in used {
                if floor(&name).is_some_and(|there| there > here) {
                    faults.push(format!(
                        "{}: uses crate::{name}, which {member}/src/lib.rs lists above `{}`'s floor",
                        source.path, path[0]
                    ));
                }
            }
        }
    }
    none(faults);
}

/// Modules in the order in which a file declares them.
pub(crate) fn modules(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens
        .windows(2)
        .filter_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect()
}

/// What `pub use module::{…}` makes known under the crate's root: name → module.
pub(crate) fn exports(tokens: TokenStream) -> BTreeMap<String, String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut known = BTreeMap::new();
    for at in 0..tokens.len() {
        let [TokenTree::Ident(word), TokenTree::Ident(module)] =
            &tokens[at..(at + 2).min(tokens.len())]
        else {
            continue;
        };
        if word == "use" && is_path(&tokens, at + 2) {
            let mut names = BTreeSet::new();
            first_names(tokens.get(at + 4), &mut names);
            known.extend(names.into_iter().map(|name| (name, module.to_string())));
        }
    }
    known
}

/// Collects what stands after `crate::`, or after enough `super::` to mean the same, in code
/// that is not for tests only. `depth`: how deep the module lies under the crate's root.
fn mentions(tokens: TokenStream, depth: usize, used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(hash) if hash.as_char() == '#' && is_test_only(tokens.get(at + 1)) => {
                at = after_item(&tokens, at);
                continue;
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                    mentions(body.stream(), depth + 1, used);
                    at += 3;
                    continue;
                }
            }
            TokenTree::Ident(word) if word == "crate" && is_path(&tokens, at + 1) => {
                first_names(tokens.get(at + 3), used);
                at += 3;
                continue;
            }
            TokenTree::Ident(word) if word == "super" && is_path(&tokens, at + 1) => {
                let mut up = 1;
                at += 3;
                while matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "super")
                    && is_path(&tokens, at + 1)
                {
                    up += 1;
                    at += 3;
                }
                if up >= depth {
                    first_names(tokens.get(at), used);
                }
                continue;
            }
            TokenTree::Group(group) => mentions(group.stream(), depth, used),
            _ => {}
        }
        at += 1;
    }
}

/// `::` at that place.
pub(crate) fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// `[cfg(test)]` after a `#`.
pub(crate) fn is_test_only(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group))
        if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The place after the item whose first attribute is at `at`.
pub(crate) fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(end) if end.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}

/// The first name of a path, or of each path in `{…}`.
fn first_names(token: Option<&TokenTree>, used: &mut BTreeSet<String>) {
    match token {
        Some(TokenTree::Ident(name)) => {
            used.insert(name.to_string());
        }
        Some(TokenTree::Group(group)) => {
            let mut begins = true;
            for token in group.stream() {
                match &token {
                    TokenTree::Ident(name) if begins => {
                        used.insert(name.to_string());
                        begins = false;
                    }
                    TokenTree::Punct(comma) if comma.as_char() == ',' => begins = true,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_slope_is_read_as_the_compiler_reads_it() {
    let text = r#"
        //! crate::in_a_comment
        use crate::{alpha::A, beta};
        fn f() { let s = "crate::in_text"; super::gamma::g(); super::super::delta::d() }
        mod inner { use super::super::super::epsilon; use super::near; }
        pub(crate) struct S;
        #[cfg(test)]
        mod tests { use crate::only_in_tests; }
        use crate::zeta;
    "#;
    let mut used = BTreeSet::new();
    mentions(text.parse().unwrap(), 2, &mut used);
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, ["alpha", "beta", "delta", "epsilon", "zeta"]);
    let floors = "#![x] pub mod b; mod a; pub use a::mod_of;"
        .parse()
        .unwrap();
    assert_eq!(modules(floors), ["b", "a"]);
    let known = exports("pub use b::{C, d}; pub use a::E;".parse().unwrap());
    assert_eq!(known["C"], "b");
    assert_eq!(known["d"], "b");
    assert_eq!(known["E"], "a");
}
