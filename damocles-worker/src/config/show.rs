//! Every key with the value that holds, and where that comes from.

use super::{Config, Loaded, Sealing, ThreadConfig};
use damocles_processor::{Stage, config::ChildConfig};
use damocles_types::{ByteSize, SectorSize};
use std::{collections::BTreeMap, fmt, time::Duration};
use toml::{Table, Value};

/// What stands in place of a secret.
const SECRET: &str = "***";
const SEALING: &str = "sealing";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody wrote it.
    Default,
    /// The profile of that name, at that line.
    Profile(String, usize),
    /// The host's file, at that line.
    File(usize),
    /// The same, in the thread's own table.
    Thread(usize),
    /// `config.toml` of the thread's directory.
    Hot(usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name, line) => write!(f, "profile {name}, line {line}"),
            Self::File(line) => write!(f, "line {line}"),
            Self::Thread(line) => write!(f, "thread, line {line}"),
            Self::Hot(line) => write!(f, "the thread's config.toml, line {line}"),
        }
    }
}

/// A key that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The table that it is in: `worker`, `sealing_thread[0]`.
    pub table: String,
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

impl Setting {
    /// `sealing_thread[0].plan`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    /// The table as it is written: `[worker]`, `[[sealing_thread]]`.
    fn header(&self) -> String {
        match self.table.split_once('[') {
            Some((list, _)) => format!("[[{list}]]"),
            None => format!("[{}]", self.table),
        }
    }
}

/// Gathers settings.
struct Page<'a> {
    loaded: &'a Loaded,
    settings: Vec<Setting>,
}

impl Page<'_> {
    fn put(&mut self, table: &str, key: &str, value: Option<Value>) {
        let origin = self.origin(&format!("{table}.{key}"));
        self.push(table, key, value, origin);
    }

    fn push(&mut self, table: &str, key: &str, value: Option<Value>, from: Origin) {
        self.settings.extend(value.map(|value| Setting {
            table: table.to_owned(),
            key: key.to_owned(),
            value,
            origin: from,
        }));
    }

    /// Behind what else its table has, unless it is there.
    fn put_into(&mut self, table: &str, key: &str, value: Option<Value>) {
        let there = |s: &Setting| s.table == table && s.key == key;
        if value.is_none() || self.settings.iter().any(there) {
            return;
        }
        let last = self.settings.iter().rposition(|s| s.table == table);
        let behind = last.map_or(Vec::new(), |last| self.settings.split_off(last + 1));
        self.put(table, key, value);
        self.settings.extend(behind);
    }

    /// Of a key as it is written.
    fn origin(&self, path: &str) -> Origin {
        let places = &self.loaded.places;
        if let Some(line) = places.line_of(path) {
            return Origin::File(line);
        }
        match (&self.loaded.profile, places.line_under(path)) {
            (Some((_, profile)), Some(line)) => Origin::Profile(profile.name.clone(), line),
            _ => Origin::Default,
        }
    }
}

fn text(value: impl ToString) -> Option<Value> {
    Some(Value::String(value.to_string()))
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Option<Value> {
    let values = values.into_iter().map(|v| Value::String(v.to_string()));
    Some(Value::Array(values.collect()))
}

fn time(time: Duration) -> Option<Value> {
    text(humantime::format_duration(time))
}

fn number(number: impl TryInto<i64>) -> Option<Value> {
    number.try_into().ok().map(Value::Integer)
}

/// All settings, in the order in which the file would have them.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let mut page = Page {
        loaded,
        settings: Vec::new(),
    };
    let config = &loaded.config;
    worker(config, &mut page);
    manager(config, &mut page);
    let keys = sealing_keys(&config.sealing);
    for (key, value) in keys {
        page.put(SEALING, key, value);
    }
    for thread in &config.threads {
        sealing_thread(thread, &mut page);
    }
    for thread in &config.placeless {
        let table = format!("sealing_thread[{}]", thread.index);
        page.put(&table, "plan", text(thread.plan));
    }
    for store in &config.attached {
        let table = format!("attached[{}]", store.index);
        page.put(&table, "name", store.name.as_ref().and_then(text));
        let location = store.location.display();
        page.put(&table, "location", text(location));
        let readonly = Some(Value::Boolean(store.readonly));
        page.put(&table, "readonly", readonly);
    }
    processors(loaded, &mut page);
    limits(config, &mut page);
    page.settings
}

fn worker(config: &Config, page: &mut Page<'_>) {
    page.put("worker", "name", config.name.as_ref().and_then(text));
    let host = config.listen.ip.and_then(text);
    page.put("worker", "rpc_server.host", host);
    page.put("worker", "rpc_server.port", number(config.listen.port));
    let secret = config.token_secret_file.as_ref();
    let secret = secret.and_then(|file| text(file.display()));
    page.put("worker", "rpc_server.token_secret_file", secret);
    page.put("worker", "ping_interval", time(config.ping_interval));
    let dirs = texts(config.piece_dirs.iter().map(|dir| dir.display()));
    page.put("worker", "local_pieces_dirs", dirs);
    page.put("worker", "scan_persist_stores", texts(&config.scan));
    let allowed = texts(&config.oversubscription);
    page.put("worker", "allow_oversubscription", allowed);
    let enabled = Some(Value::Boolean(config.metrics.is_some()));
    page.put("metrics", "enable", enabled);
    page.put("metrics", "http_listen", config.metrics.and_then(text));
}

fn manager(config: &Config, page: &mut Page<'_>) {
    let manager = &config.manager;
    let mut put = |key: &str, value| page.put("sector_manager", key, value);
    put("rpc_client.addr", text(&manager.addr));
    put("rpc_client.fallbacks", texts(&manager.fallbacks));
    let headers: Table = manager
        .headers
        .keys()
        .map(|name| (name.clone(), Value::String(SECRET.to_owned())))
        .collect();
    put("rpc_client.headers", Some(Value::Table(headers)));
    let token = manager.token_file.as_ref();
    put(
        "rpc_client.token_file",
        token.and_then(|file| text(file.display())),
    );
    put("rpc_client.timeout", time(manager.timeout));
    let raw = &page.loaded.raw.sector_manager;
    let (profile, copy) = (raw.profile.clone(), raw.profile_copy.clone());
    let token = raw.piece_token.is_some();
    let mut put = |key: &str, value| page.put("sector_manager", key, value);
    put("profile", profile.and_then(text));
    put("profile_copy", copy.and_then(|file| text(file.display())));
    put(
        "piece_token",
        token.then(|| Value::String(SECRET.to_owned())),
    );
}

/// The keys of `[sealing]`.
fn sealing_keys(sealing: &Sealing) -> Vec<(&'static str, Option<Value>)> {
    let Sealing {
        allowed_miners,
        allowed_sizes,
        enable_deals,
        disable_cc,
        max_deals,
        min_deal_space,
        max_retries,
        max_resubmits,
        seal_interval,
        recover_interval,
        rpc_polling_interval,
        ignore_proof_check,
        request_task_max_retries,
        verify_after_pc2,
    } = sealing;
    let miners = allowed_miners.iter().filter_map(|miner| number(*miner));
    vec![
        ("allowed_miners", Some(Value::Array(miners.collect()))),
        ("allowed_sizes", texts(allowed_sizes)),
        ("enable_deals", Some(Value::Boolean(*enable_deals))),
        ("disable_cc", Some(Value::Boolean(*disable_cc))),
        ("max_deals", max_deals.and_then(number)),
        (
            "min_deal_space",
            min_deal_space.map(ByteSize).and_then(text),
        ),
        ("max_retries", number(*max_retries)),
        ("max_resubmits", number(*max_resubmits)),
        ("seal_interval", time(*seal_interval)),
        ("recover_interval", time(*recover_interval)),
        ("rpc_polling_interval", time(*rpc_polling_interval)),
        (
            "ignore_proof_check",
            Some(Value::Boolean(*ignore_proof_check)),
        ),
        (
            "request_task_max_retries",
            number(*request_task_max_retries),
        ),
        ("verify_after_pc2", Some(Value::Boolean(*verify_after_pc2))),
    ]
}

/// A thread's keys: its own file, its table, `[sealing]`, what is built in.
fn sealing_thread(thread: &ThreadConfig, page: &mut Page<'_>) {
    let table = format!("sealing_thread[{}]", thread.index);
    let location = thread.location.display();
    page.put(&table, "location", text(location));
    let settings = page.loaded.settings(thread).clone();
    let own = page.loaded.own.get(&thread.index);
    let origin_of = |key: &str, global: Option<&str>| {
        if let Some(line) = own.and_then(|own| own.places.line_of(key)) {
            return Origin::Hot(line);
        }
        match (page.origin(&format!("{table}.{key}")), global) {
            (Origin::File(line), _) => Origin::Thread(line),
            (Origin::Default, Some(global)) => page.origin(global),
            (origin, _) => origin,
        }
    };
    let mut found = vec![(
        "plan".to_owned(),
        text(settings.plan),
        origin_of("plan", None),
    )];
    for (key, value) in sealing_keys(&settings.sealing) {
        let key = format!("{SEALING}.{key}");
        let origin = origin_of(&key, Some(&key));
        found.push((key, value, origin));
    }
    for (key, value, origin) in found {
        page.push(&table, &key, value, origin);
    }
}

/// `[processors]` as it is written; what a child's variables say is left out.
fn processors(loaded: &Loaded, page: &mut Page<'_>) {
    // an image of TOML is TOML
    let image = Table::try_from(&loaded.raw.processors).unwrap_or_default();
    for (key, value) in image {
        match value {
            Value::Array(children) => {
                for (i, child) in children.into_iter().enumerate() {
                    let table = format!("processors.{key}[{i}]");
                    for (name, value) in leaves(child) {
                        page.put(&table, &name, Some(value));
                    }
                }
            }
            Value::Table(keys) => {
                let table = format!("processors.{key}");
                for (name, value) in leaves(Value::Table(keys)) {
                    page.put(&table, &name, Some(value));
                }
            }
            value => page.put("processors", &key, Some(value)),
        }
    }
}

/// How long tasks may take, and nothing be heard of them, where nobody has said so: for the largest
/// sectors that are sealed here.
fn limits(config: &Config, page: &mut Page<'_>) {
    let allowed = config
        .threads
        .iter()
        .map(|t| &t.settings.sealing.allowed_sizes);
    let largest = |sizes: &Vec<SectorSize>| sizes.iter().max().copied();
    let any = SectorSize::ALL.last().copied();
    let size = allowed
        .map(|sizes| largest(sizes).or(any))
        .max()
        .flatten()
        .or(any);
    let Some(size) = size else { return };
    for stage in Stage::ALL {
        let of_stage = config.processors.stages.get(&stage);
        let children = of_stage.map_or(&[][..], |s| s.children.as_slice());
        let mut put = |table: String, suffix: &str, child: &ChildConfig| {
            let longest = child.longest(stage, of_stage, size);
            let silent = child.silence(stage, of_stage, size);
            for (key, limit) in [("longest", longest), ("silent", silent)] {
                page.put_into(&table, &format!("{key}{suffix}"), limit.and_then(time));
            }
        };
        for (i, child) in children.iter().enumerate() {
            put(format!("processors.{stage}[{i}]"), "", child);
        }
        if children.is_empty() {
            let child = ChildConfig::default();
            put(
                "processors.limitation".to_owned(),
                &format!(".{stage}"),
                &child,
            );
        }
    }
}

/// Keys of a table and of tables in it; those of `envs` without what they say.
fn leaves(value: Value) -> BTreeMap<String, Value> {
    let Value::Table(table) = value else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(_) if key == "envs" => {
                for (name, _) in leaves(value) {
                    found.insert(format!("envs.{name}"), Value::String(SECRET.to_owned()));
                }
            }
            Value::Table(_) => {
                let inner = leaves(value).into_iter();
                found.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => _ = found.insert(key, value),
        }
    }
    found
}

/// The file that would say all of it, each line with where its value comes from.
pub fn toml(settings: &[Setting]) -> String {
    let mut out = String::new();
    let mut table = "";
    for setting in settings {
        if setting.table != table {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&setting.header());
            out.push('\n');
            table = &setting.table;
        }
        let line = format!("{} = {}", quoted(&setting.key), setting.value);
        out.push_str(&format!("{line:<44} # {}\n", setting.origin));
    }
    out
}

/// A dotted key, with quotes around parts that need them (`processors.ext_locks."gpu:0"`).
fn quoted(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let part = |part: &str| match part.bytes().all(bare) {
        true => part.to_owned(),
        false => format!("{part:?}"),
    };
    key.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// The same for programs.
pub fn json(settings: &[Setting]) -> serde_json::Value {
    let one = |setting: &Setting| {
        let (from, line) = match &setting.origin {
            Origin::Default => ("default", None),
            Origin::Profile(_, line) => ("profile", Some(line)),
            Origin::File(line) => ("file", Some(line)),
            Origin::Thread(line) => ("thread", Some(line)),
            Origin::Hot(line) => ("hot file", Some(line)),
        };
        serde_json::json!({
            "Key": setting.path(),
            "Value": setting.value,
            "From": from,
            "Line": line,
        })
    };
    settings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{kept_profiles, load},
        stores::SealingStore,
    };
    use std::fs;

    #[test]
    fn limits_are_told_with_where_they_come_from_and_the_file_says_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hdd")).unwrap();
        SealingStore::init(&dir.path().join("t0")).unwrap();
        let place = dir.path().display();
        let file = dir.path().join("worker.toml");
        let text = format!(
            "[sector_manager]\nrpc_client.addr = \"http://m:1\"\n\
             [[attached]]\nlocation = \"{place}/hdd\"\n\
             [[sealing_thread]]\nlocation = \"{place}/t0\"\n\
             sealing.allowed_sizes = [\"2KiB\", \"32GiB\"]\n\
             [processors.limitation.longest]\npc1 = \"30h\"\n\
             [[processors.c2]]\nlongest = \"0s\"\n[[processors.c2]]\n"
        );
        fs::write(&file, text).unwrap();
        let shown = settings(&load(&file, &kept_profiles).unwrap());
        let of = |path: &str| {
            let found = shown.iter().find(|s| s.path() == path);
            found.map(|s| (s.value.to_string(), s.origin.clone()))
        };
        for (path, value, origin) in [
            ("processors.limitation.longest.pc1", "30h", Origin::File(9)),
            ("processors.limitation.silent.pc1", "4h", Origin::Default),
            ("processors.limitation.longest.pc2", "1day", Origin::Default),
            ("processors.c2[0].longest", "0s", Origin::File(11)),
            ("processors.c2[1].longest", "1day", Origin::Default),
        ] {
            let told = of(path);
            assert_eq!(told, Some((format!("\"{value}\""), origin)), "{path}");
        }
        assert_eq!(of("processors.limitation.longest.window_post"), None);
        assert_eq!(of("processors.c2[0].silent"), None);
        // each table stands once, or it were no TOML
        let again: Table = toml(&shown).parse().unwrap();
        let longest = &again["processors"]["limitation"]["longest"];
        assert_eq!(longest["pc1"].as_str(), Some("30h"));
    }
}
