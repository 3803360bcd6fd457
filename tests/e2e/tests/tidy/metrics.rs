//! Every metric that a daemon registers stands on docs/metrics.md, and no other.

use crate::{
    none, sources,
    text::{is_test_file, read},
};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;

/// Names in `.register("name", …)`, outside tests.
fn registered(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let called =
            at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(name) if name == "register");
        let mut inner = group.stream().into_iter();
        if called
            && let Some(TokenTree::Literal(name)) = inner.next()
            && matches!(inner.next(), Some(TokenTree::Punct(_)))
        {
            found.insert(name.to_string().trim_matches('"').to_owned());
        }
        registered(group.stream(), found);
    }
}

#[test]
fn every_registered_metric_is_on_the_page() {
    let page = read("docs/metrics.md");
    let mut faults = Vec::new();
    let mut seen = 0;
    for program in ["damocles-manager", "damocles-worker"] {
        for source in sources(program) {
            if is_test_file(&source.path) {
                continue;
            }
            let mut names = BTreeSet::new();
            registered(source.tokens(), &mut names);
            for name in names {
                seen += 1;
                let whole = format!("`{}_{name}", program.replace('-', "_"));
                let there = ["`", "_total`"]
                    .iter()
                    .any(|end| page.contains(&format!("{whole}{end}")));
                if !there {
                    faults.push(format!("{}: {name} is not on docs/metrics.md", source.path));
                }
            }
        }
    }
    assert!(seen > 5, "only {seen} metrics found");
    none(faults);
}

#[test]
fn names_are_found_where_they_are_registered() {
    let mut found = BTreeSet::new();
    let text = r#"fn f() { m.with(|r| { r.register("a", "A", x); }); r.register(collector); register("b") }"#;
    registered(text.parse().unwrap(), &mut found);
    assert_eq!(Vec::from_iter(found), ["a"]);
}
