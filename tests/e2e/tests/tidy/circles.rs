//! The slope inside a room: files of one folder do not lean on each other in a circle, neither by
//! what they import nor by methods that one file adds to another's type.

use crate::{
    Source, crates, none, slope,
    slope::{is_path, is_test_only},
    sources,
    text::is_test_file,
};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// Circles that stood when this check was written: the room, and the files in the circle. The
/// list may only shrink: a circle that grows, a new one, and an entry that is more than what
/// still stands, is a fault.
const KNOWN: &[(&str, &[&str])] = &[
    ("common/kernels/src/fr32", &["mod", "vbmi"]),
    ("common/kernels/src/pc2", &["files", "mod", "pipeline"]),
    ("common/kernels/src/poseidon", &["batch", "mod"]),
    (
        "common/kernels/src/sha",
        &["pairs", "pairs_ni", "pairs_x16"],
    ),
    ("common/kernels/src/snap", &["files", "mod"]),
    ("common/processor/src/bench", &["mod", "sectors"]),
    ("common/processor/src/parent", &["child", "pipes", "spec"]),
    ("common/processor/src/parent", &["keeper", "watch"]),
    ("damocles-manager/src/commit", &["certain", "mod"]),
    ("damocles-manager/src/messages", &["mod", "sender"]),
    ("damocles-manager/src/post", &["context", "miner", "mod"]),
    ("damocles-worker/src/config", &["mod", "overlap"]),
    ("damocles-worker/src/plans", &["mod", "sealer"]),
    (
        "damocles-worker/src/stores",
        &["database", "mod", "sealing"],
    ),
];

/// A room's files, as they lean on each other.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Rooms of a crate: folder → its module path and the files in it and below.
fn rooms(member: &str) -> BTreeMap<String, Vec<Source>> {
    let src = format!("{member}/src/");
    let mut rooms: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for source in sources(member) {
        let Some(inside) = source.path.strip_prefix(&src) else {
            continue;
        };
        if is_test_file(&source.path) || inside.split('/').any(|part| part == "tests") {
            continue;
        }
        let mut folder = inside;
        while let Some((up, _)) = folder.rsplit_once('/') {
            rooms.entry(format!("{src}{up}")).or_default().push(Source {
                path: source.path.clone(),
                text: source.text.clone(),
            });
            folder = up;
        }
    }
    rooms
}

/// The name of a file inside a room: its stem, or the folder in which it lies further down.
fn node(room: &str, path: &str) -> String {
    let inside = &path[room.len() + 1..];
    let first = inside.split('/').next().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The module path of a file, from the crate's root.
fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").unwrap().1;
    let mut parts: Vec<String> = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

/// How the files of a room lean on each other.
fn edges(room: &str, files: &[Source]) -> Edges {
    let here = module(&format!("{room}/mod.rs"));
    let siblings: BTreeSet<String> = files.iter().map(|f| node(room, &f.path)).collect();
    let entrance = files.iter().find(|f| f.path == format!("{room}/mod.rs"));
    let exported = entrance.map_or_else(BTreeMap::new, |f| slope::exports(f.tokens()));
    let mut edges = Edges::new();
    let mut lean = |from: &str, to: &str| {
        if from != to {
            edges
                .entry(from.to_owned())
                .or_default()
                .insert(to.to_owned());
        }
    };
    let (mut types, mut added, mut called) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for file in files {
        let from = node(room, &file.path);
        let mut paths = BTreeSet::new();
        // the entrance may name its files without `self::`
        let children = if from == "mod" {
            &siblings
        } else {
            &BTreeSet::new()
        };
        used(file.tokens(), &module(&file.path), children, &mut paths);
        for path in paths {
            if path.len() <= here.len() || !path.starts_with(&here) {
                continue;
            }
            let name = &path[here.len()];
            if siblings.contains(name) {
                lean(&from, name);
            } else if let Some(home) = exported.get(name) {
                if siblings.contains(home) {
                    lean(&from, home);
                }
            } else if entrance.is_some() {
                lean(&from, "mod");
            }
        }
        let mut found = Impls::default();
        found.read(file.tokens());
        for name in found.declared {
            types.insert(name, from.clone());
        }
        for (name, methods) in found.added {
            added.push((name, from.clone(), methods));
        }
        called
            .entry(from)
            .or_insert_with(BTreeSet::new)
            .extend(found.called);
    }
    for (name, adds, methods) in added {
        let Some(declares) = types.get(&name) else {
            continue;
        };
        if called[declares]
            .iter()
            .any(|method| methods.contains(method))
        {
            lean(declares, &adds);
        }
        lean(&adds, declares);
    }
    edges
}

/// Collects absolute paths that code outside tests names; re-exports are no use.
fn used(
    tokens: TokenStream,
    here: &[String],
    children: &BTreeSet<String>,
    found: &mut BTreeSet<Vec<String>>,
) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(hash) if hash.as_char() == '#' && is_test_only(tokens.get(at + 1)) => {
                at = slope::after_item(&tokens, at);
                continue;
            }
            TokenTree::Ident(word) if word == "pub" => {
                let mut next = at + 1;
                if matches!(tokens.get(next), Some(TokenTree::Group(_))) {
                    next += 1;
                }
                if matches!(tokens.get(next), Some(TokenTree::Ident(word)) if word == "use") {
                    at = slope::after_item(&tokens, next);
                    continue;
                }
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let mut inner = here.to_vec();
                    inner.push(name.to_string());
                    used(body.stream(), &inner, &BTreeSet::new(), found);
                    at += 3;
                    continue;
                }
            }
            TokenTree::Ident(word) if is_path(&tokens, at + 1) && !after_path(&tokens, at) => {
                let word = word.to_string();
                let mut base = match word.as_str() {
                    "crate" => Vec::new(),
                    "self" => here.to_vec(),
                    "super" => here[..here.len().saturating_sub(1)].to_vec(),
                    child if children.contains(child) => {
                        let mut base = here.to_vec();
                        base.push(child.to_owned());
                        base
                    }
                    _ => {
                        at += 1;
                        continue;
                    }
                };
                at += 3;
                while matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "super")
                    && is_path(&tokens, at + 1)
                {
                    base.pop();
                    at += 3;
                }
                tree(&tokens[at.min(tokens.len())..], &base, found);
                continue;
            }
            TokenTree::Group(group) => used(group.stream(), here, children, found),
            _ => {}
        }
        at += 1;
    }
}

/// Whether `a::` stands before.
fn after_path(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && is_path(tokens, at - 2)
}

/// The rest of a path, `{…}` taken apart.
fn tree(tokens: &[TokenTree], base: &[String], found: &mut BTreeSet<Vec<String>>) {
    let mut path = base.to_vec();
    match tokens.first() {
        Some(TokenTree::Ident(name)) => {
            if name != "self" {
                path.push(name.to_string());
            }
            if is_path(tokens, 1) {
                tree(&tokens[3..], &path, found);
            } else {
                found.insert(path);
            }
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
            for part in inner.split(comma) {
                tree(part, &path, found);
            }
        }
        _ => _ = found.insert(path),
    }
}

/// Types that a file declares, methods that it gives to types, and methods that it calls.
#[derive(Default)]
struct Impls {
    declared: BTreeSet<String>,
    added: Vec<(String, BTreeSet<String>)>,
    called: BTreeSet<String>,
}

impl Impls {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let word = |at: usize, text: &str| matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == text);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(hash)
                    if hash.as_char() == '#' && is_test_only(tokens.get(at + 1)) =>
                {
                    at = slope::after_item(&tokens, at);
                    continue;
                }
                TokenTree::Ident(_) if word(at, "struct") || word(at, "enum") => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        self.declared.insert(name.to_string());
                    }
                }
                TokenTree::Ident(_) if word(at, "impl") => {
                    if let Some((name, body)) = inherent(&tokens[at + 1..]) {
                        let inner: Vec<TokenTree> = body.into_iter().collect();
                        let methods = inner.windows(2).filter_map(|pair| match pair {
                            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "fn" => {
                                Some(name.to_string())
                            }
                            _ => None,
                        });
                        self.added.push((name, methods.collect()));
                    }
                }
                TokenTree::Punct(dot) if dot.as_char() == '.' => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(_))) =
                        (tokens.get(at + 1), tokens.get(at + 2))
                    {
                        self.called.insert(name.to_string());
                    }
                }
                TokenTree::Group(group) => self.read(group.stream()),
                _ => {}
            }
            at += 1;
        }
    }
}

/// The type and the body of `impl T { … }`; None: of a trait.
fn inherent(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    let mut depth = 0i32;
    let mut name = None;
    for token in tokens {
        match token {
            TokenTree::Punct(p) if p.as_char() == '<' => depth += 1,
            TokenTree::Punct(p) if p.as_char() == '>' => depth -= 1,
            TokenTree::Ident(word) if word == "for" => return None,
            TokenTree::Ident(word) if depth == 0 && name.is_none() => {
                name = Some(word.to_string());
            }
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                return Some((name?, body.stream()));
            }
            _ => {}
        }
    }
    None
}

/// Sets of files each of which leans on each other, however long the way.
fn circles(edges: &Edges) -> Vec<BTreeSet<String>> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(next) = open.pop() {
            for to in edges.get(&next).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|from| (from, reach(from))).collect();
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for (from, to) in &reached {
        if !to.contains(*from) || found.iter().any(|circle| circle.contains(*from)) {
            continue;
        }
        let back = |other: &&String| reached.get(other).is_some_and(|r| r.contains(*from));
        found.push(to.iter().filter(back).cloned().collect());
    }
    found
}

#[test]
fn no_files_of_a_room_lean_on_each_other_in_a_circle() {
    let known: BTreeSet<(String, Vec<String>)> = KNOWN
        .iter()
        .map(|(room, files)| {
            (
                (*room).to_owned(),
                files.iter().map(|f| (*f).to_owned()).collect(),
            )
        })
        .collect();
    let mut stands = BTreeSet::new();
    let mut seen = 0;
    for member in crates() {
        for (room, files) in rooms(&member) {
            seen += 1;
            for circle in circles(&edges(&room, &files)) {
                stands.insert((room.clone(), Vec::from_iter(circle)));
            }
        }
    }
    assert!(seen > 20, "only {seen} rooms found");
    let drawn = |(room, files): &(String, Vec<String>)| format!("{room}: {}", files.join(" ⇄ "));
    let new = stands.difference(&known).map(drawn);
    let gone = known.difference(&stands).map(|circle| {
        format!(
            "{} is in the list, and is no such circle any more",
            drawn(circle)
        )
    });
    none(new.chain(gone).collect());
}

#[test]
fn circles_are_seen_through_imports_entrances_and_methods() {
    let file = |name: &str, text: &str| Source {
        path: format!("c/src/room/{name}.rs"),
        text: text.to_owned(),
    };
    let circles_of = |files: &[Source]| {
        let found = circles(&edges("c/src/room", files));
        let found: Vec<String> = found
            .into_iter()
            .map(|circle| Vec::from_iter(circle).join(" "))
            .collect();
        found.join("; ")
    };
    let entrance = "mod a; mod b; pub use a::A; pub fn word() {}";
    // by imports, through the entrance's re-export
    let by_import = [
        file("mod", entrance),
        file("a", "use super::b::B; struct A;"),
        file("b", "use crate::room::A; struct B;"),
    ];
    assert_eq!(circles_of(&by_import), "a b");
    // the entrance declares a word and uses the file that speaks it
    let by_entrance = [
        file("mod", "mod a; pub fn word() { a::act() }"),
        file("a", "pub fn act() { super::word() }"),
    ];
    assert_eq!(circles_of(&by_entrance), "a mod");
    // one type, its methods in two files, each calls the other's
    let by_method = [
        file("mod", "mod a; mod b;"),
        file("a", "struct A; impl A { fn round(&self) { self.step() } }"),
        file("b", "use super::a::A; impl A { fn step(&self) {} }"),
    ];
    assert_eq!(circles_of(&by_method), "a b");
    let straight = [
        file("mod", entrance),
        file(
            "a",
            "struct A; #[cfg(test)] mod tests { use super::super::b; }",
        ),
        file(
            "b",
            "use super::{a::A, word}; impl std::fmt::Debug for A {}",
        ),
    ];
    assert_eq!(circles_of(&straight), "");
}
