//! Documents of configuration, command line, RPC and metrics cannot lie: the reference pages are
//! generated, the examples load.

use damocles_manager::{cli, config, rpc};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[track_caller]
fn generated(name: &str, page: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/{name} is out of date; run: UPDATE_DOCS=1 cargo test -p damocles-manager --test config_docs"
    );
}

#[test]
fn the_reference_pages_are_generated() {
    generated("config-manager.md", &config::reference_page());
    generated("cli-manager.md", &cli::reference_page());
    generated("rpc.md", &rpc_page());
    generated("openrpc.json", &openrpc());
    let path = root().join("docs/metrics.md");
    let page = fs::read_to_string(path).unwrap();
    let page = damocles_daemon::pages::with_part(&page, "damocles-manager", &rpc::metrics_table());
    generated("metrics.md", &page);
}

/// A method as its trait declares it.
struct Declared {
    sentence: String,
    params: String,
    answer: String,
}

/// Methods of every trait of `common/api`, by their whole name.
fn declared() -> BTreeMap<String, Declared> {
    let files = fs::read_dir(root().join("common/api/src")).unwrap();
    let mut all: BTreeMap<_, _> = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .flat_map(|text| methods(&text))
        .collect();
    let discover = Declared {
        sentence: "The OpenRPC document of all these methods, which lies in `docs/openrpc.json`."
            .into(),
        params: String::new(),
        answer: "Value".into(),
    };
    all.insert("rpc.discover".into(), discover);
    all
}

/// The methods of a file with a trait of one namespace.
fn methods(text: &str) -> BTreeMap<String, Declared> {
    let mut found = BTreeMap::new();
    let Some((_, rest)) = text.split_once("namespace = \"") else {
        return found;
    };
    let space = rest.split('"').next().unwrap();
    let mut sentence = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("///") {
            sentence.push(words.trim());
        } else if let Some(rest) = line.strip_prefix("#[method(name = \"") {
            let name = format!("{space}.{}", rest.split('"').next().unwrap());
            let mut signature = String::new();
            while !signature.ends_with(';') {
                signature.push_str(lines.next().expect("a signature ends"));
            }
            let (_, rest) = signature.split_once("&self").unwrap();
            let (params, answer) = rest.split_once(')').unwrap();
            let params: Vec<&str> = params
                .split(", ")
                .flat_map(|part| part.split(','))
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .collect();
            let answer = answer.split_once("RpcResult<").unwrap().1;
            let answer = answer.strip_suffix(">;").unwrap();
            found.insert(
                name,
                Declared {
                    sentence: std::mem::take(&mut sentence).join(" "),
                    params: params.join(", "),
                    answer: answer.replace("()", "null"),
                },
            );
        } else {
            sentence.clear();
        }
    }
    found
}

fn row(out: &mut String, name: &str, permission: &str, declared: &Declared) {
    let Declared {
        sentence,
        params,
        answer,
    } = declared;
    assert!(!sentence.is_empty(), "{name} has no sentence in common/api");
    out.push_str(&format!(
        "| `{name}` | {permission} | `{params}` | `{answer}` | {sentence} |\n"
    ));
}

/// `docs/rpc.md`: every method that the two daemons serve.
fn rpc_page() -> String {
    const HEAD: &str =
        "| method | permission | parameters | answer | what it does |\n|---|---|---|---|---|\n";
    let all = declared();
    let mut out = format!(
        "# RPC\n\nThis page is generated from the traits in `common/api` and the manager's table of methods \
         (`UPDATE_DOCS=1 cargo test -p damocles-manager --test config_docs`).\n\n\
         JSON-RPC 2.0, parameters by position, exactly as many as are listed. `Venus.*` and `VenusWorker.*` are \
         contracts with upstream, names and shapes included; what is new stands in `Damocles.*`, and in fields that \
         upstream does not read. Errors have a code: `11001` the sector is over (given up, finished or removed), \
         `11404` there is no record of the sector, keep its files, `11409` another worker owns it, `11503` not now, \
         ask again, `11403` a token is missing or does not allow it, `1` anything else. For programs the same \
         is in [openrpc.json](openrpc.json), and `rpc.discover` answers it.\n\n\
         ## damocles-manager\n\n`POST /rpc/v0`, and a WebSocket at the same path.\n\n{HEAD}"
    );
    for method in rpc::METHODS {
        let permission = method.permission.to_string();
        row(&mut out, method.name, &permission, &all[method.name]);
    }
    out.push_str(&format!(
        "\n## damocles-worker\n\n`POST` at any path. Callers on the worker's own host need no token.\n\n{HEAD}"
    ));
    for (name, declared) in &all {
        let permission = match name.as_str() {
            "VenusWorker.WorkerPause"
            | "VenusWorker.WorkerResume"
            | "VenusWorker.WorkerAbort"
            | "VenusWorker.WorkerKill"
            | "VenusWorker.WorkerDrain"
            | "VenusWorker.WorkerDump" => "write",
            _ => "read",
        };
        if name.starts_with("VenusWorker.") {
            row(&mut out, name, permission, declared);
        }
    }
    out
}

/// The JSON schema of a type as the traits write it, as far as its name alone tells. The shapes of
/// structures are those of their documentation in `common/api`, under the name that is their title.
fn schema(of: &str) -> Value {
    let inside = |outer: &str| {
        of.strip_prefix(outer)
            .and_then(|rest| rest.strip_prefix('<'))
            .and_then(|rest| rest.strip_suffix('>'))
    };
    if let Some(inner) = inside("Option") {
        return json!({"oneOf": [schema(inner), {"type": "null"}]});
    }
    if let Some(inner) = inside("Vec") {
        return json!({"type": "array", "items": schema(inner)});
    }
    if let Some(value) = inside("BTreeMap").and_then(|both| both.strip_prefix("String, ")) {
        return json!({"type": "object", "additionalProperties": schema(value)});
    }
    match of {
        "String" => json!({"type": "string"}),
        "bool" => json!({"type": "boolean"}),
        "null" => json!({"type": "null"}),
        "u64" | "u32" => json!({"type": "integer", "minimum": 0}),
        "i64" => json!({"type": "integer"}),
        name => json!({"title": name}),
    }
}

/// `docs/openrpc.json`: the same as the page, for programs.
fn openrpc() -> String {
    let all = declared();
    let methods: Vec<Value> = rpc::METHODS
        .iter()
        .map(|method| {
            let Declared {
                sentence,
                params,
                answer,
            } = &all[method.name];
            let params: Vec<Value> = named(params)
                .into_iter()
                .map(|(name, kind)| json!({"name": name, "required": true, "schema": schema(kind)}))
                .collect();
            assert_eq!(params.len(), method.params, "{}", method.name);
            json!({
                "name": method.name,
                "summary": sentence,
                "paramStructure": "by-position",
                "params": params,
                "result": {"name": "result", "schema": schema(answer)},
                "x-permission": method.permission.to_string(),
            })
        })
        .collect();
    let document = json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "damocles-manager",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "POST /rpc/v0, and a WebSocket at the same path. A schema with a title alone is the structure of that name in common/api.",
        },
        "methods": methods,
    });
    format!("{document:#}\n")
}

/// Names and types of parameters, as a trait writes them: `a: String, b: BTreeMap<String, u64>`.
fn named(params: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in params.char_indices().chain([(params.len(), ',')]) {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                if let Some((name, kind)) = params[begin..at].split_once(": ") {
                    found.push((name.trim(), kind.trim()));
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn types_have_schemas_and_parameters_names() {
    assert_eq!(
        named("a: Option<String>, b: BTreeMap<String, u64>"),
        [("a", "Option<String>"), ("b", "BTreeMap<String, u64>")]
    );
    assert_eq!(named(""), []);
    let list = schema("Option<Vec<u64>>");
    assert_eq!(list["oneOf"][0]["items"]["minimum"], 0);
    assert_eq!(schema("SectorId"), json!({"title": "SectorId"}));
}

#[test]
fn every_example_loads() {
    let mut loaded = 0;
    for entry in fs::read_dir(root().join("config-examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("sector-manager") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // words that the demo fills in
        let text = text
            .replace("@NODE@", "/ip4/127.0.0.1/tcp/1234/http")
            .replace("@HOME@", "/tmp")
            .replace("@SECTORS@", "2");
        let config = config::check_text(&path, &text).unwrap_or_else(|e| panic!("{e}"));
        assert!(!config.miners.is_empty(), "{name}");
        loaded += 1;
    }
    assert!(loaded >= 2, "the examples were found");
}

#[test]
fn the_example_names_every_table_of_upstream_that_this_version_reads() {
    let text = fs::read_to_string(root().join("config-examples/sector-manager.cfg")).unwrap();
    for table in [
        "[Common.API]",
        "[[Common.PersistStores]]",
        "[Common.DB]",
        "[Common.Proving]",
        "[[Miners]]",
        "[Miners.Sector]",
        "[Miners.Commitment]",
        "[Miners.Commitment.Pre]",
        "[Miners.Commitment.Pre.Batch]",
        "[Miners.Commitment.Prove]",
        "[Miners.Commitment.Prove.Batch]",
        "[Miners.PoSt]",
        "[Miners.Sealing]",
        "[Miners.SnapUp]",
        "[Miners.Proof]",
    ] {
        assert!(text.contains(table), "{table}");
    }
}
