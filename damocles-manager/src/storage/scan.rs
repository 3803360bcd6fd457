//! Persist stores that are found by their marking file `sectorstore.json`: looked for again and
//! again, each directory by a call of its own, so that one that hangs or holds nonsense is
//! named and costs the others nothing. What was found last is remembered over a restart.

use crate::{
    db::{record::VERSION, stores::Scanned},
    policy::StorePolicy,
    storage::{
        Store, Stores, Unreachable,
        disk::{Disk, read_small},
        layout::SCANNED_MARK,
    },
};
use futures::{StreamExt, stream};
use glob::Pattern;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A directory that takes longer is passed over.
const LIMIT: Duration = Duration::from_secs(5);
/// Directories that one pattern may lead to, and that are listed on the way.
const MOST: usize = 4096;
/// Directories looked at together.
const AT_ONCE: usize = 16;

/// One `sectorstore.json`. Keys match whatever their case; unknown ones (Lotus' `CanSeal` …)
/// are passed over, because other programs own the file too. Without a name, the path is it.
fn read(text: &str, directory: &Path) -> Result<StorePolicy, String> {
    let json: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("is not a JSON object: {e}"))?;
    let json: BTreeMap<String, Value> = json
        .into_iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.to_ascii_lowercase(), v))
        .collect();
    fn get<T: serde::de::DeserializeOwned + Default>(
        json: &BTreeMap<String, Value>,
        key: &str,
    ) -> Result<T, String> {
        match json.get(&key.to_ascii_lowercase()) {
            None => Ok(T::default()),
            Some(value) => {
                serde_json::from_value(value.clone()).map_err(|e| format!("has a wrong {key}: {e}"))
            }
        }
    }
    for key in ["Plugin", "PluginName"] {
        if !get::<String>(&json, key)?.is_empty() {
            return Err(format!(
                "names a plugin ({key}); plugins are not supported by this version"
            ));
        }
    }
    let names = [get::<String>(&json, "Name")?, get(&json, "ID")?];
    let name = names.into_iter().find(|name| !name.is_empty());
    Ok(StorePolicy {
        name: name.unwrap_or_else(|| directory.display().to_string()),
        path: directory.to_owned(),
        strict: get(&json, "Strict")?,
        read_only: get(&json, "ReadOnly")?,
        weight: get(&json, "Weight")?,
        allow_miners: get(&json, "AllowMiners")?,
        deny_miners: get(&json, "DenyMiners")?,
        meta: get(&json, "Meta")?,
    })
}

/// Directories in `root`; links to some may be among them, and are not looked at here.
fn directories(root: &Path) -> std::io::Result<Vec<(PathBuf, bool)>> {
    let mut out = Vec::new();
    for entry in root.read_dir()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_symlink() {
            out.push((entry.path(), kind.is_symlink()));
        }
        if out.len() > MOST {
            break;
        }
    }
    out.sort();
    Ok(out)
}

/// What a scan of one pattern came to.
#[derive(Debug, Default)]
struct Outcome {
    stores: Vec<StorePolicy>,
    /// By directory or pattern.
    faults: BTreeMap<String, String>,
}

impl Stores {
    /// Looks for the stores that the patterns lead to. New ones join, changed ones change; one
    /// that is not found any more stays, and is away.
    pub(super) async fn scan(&self) {
        let mut faults = BTreeMap::new();
        let patterns = self.0.patterns.read().clone();
        for pattern in &patterns {
            let outcome = self.scan_for(pattern).await;
            faults.extend(outcome.faults);
            for store in outcome.stores {
                let path = store.path.display().to_string();
                if let Err(why) = self.take_in(pattern, store).await {
                    faults.insert(path, why);
                }
            }
        }
        let mut said = self.0.scan_faults.lock();
        for (place, why) in &faults {
            if said.get(place) != Some(why) {
                tracing::error!(
                    "no persist store at {place}: {why}; the others are not touched by this"
                );
            }
        }
        *said = faults;
    }

    /// What the last scan complained of, by directory or pattern.
    pub fn scan_faults(&self) -> BTreeMap<String, String> {
        self.0.scan_faults.lock().clone()
    }

    /// The disk of a directory that scans look at; one that hangs is remembered as hanging.
    fn disk_of(&self, directory: &Path) -> Disk {
        let mut looked = self.0.looked.lock();
        let disk = looked
            .entry(directory.to_owned())
            .or_insert_with(|| Disk::new("scan".to_owned(), directory.to_owned()));
        disk.clone()
    }

    async fn scan_for(&self, pattern: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let directories = self.expand(pattern, &mut outcome.faults).await;
        let looks = directories.into_iter().map(|directory| async move {
            let disk = self.disk_of(&directory);
            let text = disk.call(LIMIT, |root| read_small(&root.join(SCANNED_MARK)));
            (directory, text.await)
        });
        let mut looks = stream::iter(looks).buffered(AT_ONCE);
        while let Some((directory, text)) = looks.next().await {
            let read = match text {
                Ok(None) => continue,
                Ok(Some(text)) => {
                    read(&text, &directory).map_err(|what| format!("its {SCANNED_MARK} {what}"))
                }
                Err(Unreachable { why, .. }) => {
                    Err(format!("its {SCANNED_MARK} cannot be read: {why}"))
                }
            };
            match read {
                Ok(store) => outcome.stores.push(store),
                Err(why) => drop(outcome.faults.insert(directory.display().to_string(), why)),
            }
        }
        outcome
    }

    /// Directories that a pattern leads to. Only where it has a wildcard a directory is listed.
    async fn expand(&self, pattern: &str, faults: &mut BTreeMap<String, String>) -> Vec<PathBuf> {
        let mut found: BTreeSet<PathBuf> = BTreeSet::new();
        let mut first = true;
        for part in Path::new(pattern).components() {
            let text = part.as_os_str().to_string_lossy().into_owned();
            let literal = !text.contains(['*', '?', '[']);
            if first {
                found.insert(if part == Component::RootDir { "/" } else { "." }.into());
                first = false;
            }
            if part == Component::RootDir {
                continue;
            }
            if literal {
                found = found.into_iter().map(|dir| dir.join(&text)).collect();
                continue;
            }
            let deep = text == "**";
            let Ok(wanted) = Pattern::new(&text) else {
                faults.insert(pattern.to_owned(), "it is not a glob pattern".to_owned());
                return Vec::new();
            };
            let mut next = BTreeSet::new();
            let mut open: Vec<PathBuf> = found.into_iter().collect();
            let mut listed = 0;
            while let Some(dir) = open.pop() {
                if deep {
                    next.insert(dir.clone());
                }
                listed += 1;
                if listed > MOST || next.len() > MOST {
                    let why = format!("it leads to more than {MOST} directories; narrow it");
                    faults.insert(pattern.to_owned(), why);
                    break;
                }
                match self.disk_of(&dir).call(LIMIT, directories).await {
                    Ok(all) if deep => {
                        open.extend(
                            all.into_iter()
                                .filter(|(_, link)| !link)
                                .map(|(dir, _)| dir),
                        );
                    }
                    Ok(all) => {
                        let names = |dir: &Path| {
                            dir.file_name()
                                .is_some_and(|n| wanted.matches(&n.to_string_lossy()))
                        };
                        next.extend(all.into_iter().map(|(dir, _)| dir).filter(|dir| names(dir)));
                    }
                    // what is not there matches nothing
                    Err(_) if deep => {}
                    Err(Unreachable { why, .. }) => {
                        faults.insert(
                            dir.display().to_string(),
                            format!("it cannot be listed: {why}"),
                        );
                    }
                }
            }
            found = next;
        }
        found.into_iter().collect()
    }

    /// Makes a found store one of ours.
    async fn take_in(&self, pattern: &str, store: StorePolicy) -> Result<(), String> {
        let known = self.stores();
        let name = store.name.clone();
        let same_name = known.iter().find(|s| s.policy.name == name);
        if let Some(same) = same_name {
            if same.policy == store {
                return Ok(());
            }
            if same.pattern.is_none() {
                return Err(format!(
                    "it is called {name:?}, as a configured store is; names are unique"
                ));
            }
            if same.policy.path != store.path && same.note().is_none() {
                return Err(format!(
                    "it is called {name:?}, as {} is; names are unique",
                    same.policy.path.display()
                ));
            }
        } else if let Some(same) = known.iter().find(|s| s.policy.path == store.path)
            && same.pattern.is_none()
        {
            return Err(format!(
                "it is configured as {:?} already",
                same.policy.name
            ));
        }
        let scanned = Scanned {
            v: VERSION,
            pattern: pattern.to_owned(),
            store: store.clone(),
        };
        self.db(move |db| db.remember_scanned(&scanned))
            .await
            .map_err(|e| e.to_string())?;
        tracing::info!(store = name, path = %store.path.display(), "found a persist store");
        let fresh = Arc::new(Store::new(store, Some(pattern.to_owned())));
        let mut all = self.0.stores.write();
        // a configuration that was read meanwhile counts
        let wanted = self.0.patterns.read().iter().any(|p| p == pattern);
        let (name, path) = (&fresh.policy.name, &fresh.policy.path);
        let mut configured = all.iter().filter(|s| s.pattern.is_none());
        if !wanted || configured.any(|s| s.policy.name == *name || s.policy.path == *path) {
            return Ok(());
        }
        let name = name.clone();
        match all.iter().position(|s| s.policy.name == name) {
            Some(at) => all[at] = fresh,
            None => all.push(fresh),
        }
        Ok(())
    }
}

/// What a scan finds a store by, as upstream writes it: the text of its `sectorstore.json`. Its path is
/// where it lies.
pub fn scanned_mark(store: &StorePolicy) -> String {
    let StorePolicy {
        name,
        path: _,
        strict,
        read_only,
        weight,
        allow_miners,
        deny_miners,
        meta,
    } = store;
    let mark = serde_json::json!({
        "ID": uuid::Uuid::new_v4().to_string(), "Name": name, "Meta": meta, "Strict": strict,
        "ReadOnly": read_only, "Weight": weight, "AllowMiners": allow_miners,
        "DenyMiners": deny_miners, "PluginName": "",
    });
    format!("{mark:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_store_is_read_again() {
        let store = StorePolicy {
            name: "hdd7".into(),
            path: "/mnt/hdd7".into(),
            strict: true,
            read_only: false,
            weight: 2,
            allow_miners: vec![1000],
            deny_miners: vec![7],
            meta: None,
        };
        assert_eq!(read(&scanned_mark(&store), &store.path).unwrap(), store);
    }

    #[test]
    fn a_marking_file_says_what_the_store_is() {
        let dir = Path::new("/mnt/x");
        let a = read(
            r#"{"ID":"id-a","name":"st-a","Path":"/elsewhere","weight":3,"CanSeal":true,"DenyMiners":[7],"Meta":null}"#,
            dir,
        )
        .unwrap();
        assert_eq!(
            (a.name.as_str(), a.weight, &a.deny_miners[..]),
            ("st-a", 3, &[7][..])
        );
        assert_eq!(a.path, dir);
        let b = read(r#"{"ID":"id-b","ReadOnly":true}"#, dir).unwrap();
        assert_eq!((b.name.as_str(), b.read_only), ("id-b", true));
        for nameless in ["{}", r#"{"Weight":1}"#, r#"{"Name":"","ID":""}"#] {
            assert_eq!(read(nameless, dir).unwrap().name, "/mnt/x", "by its path");
        }
        for bad in [
            "nonsense",
            r#"{"Name":"x","PluginName":"s3"}"#,
            r#"{"Weight":"x"}"#,
        ] {
            assert!(read(bad, dir).is_err(), "{bad}");
        }
    }
}
