//! Persist stores: those in the file, and those found by scanning for `sectorstore.json`.

use super::raw::PersistStore;
use crate::policy::StorePolicy;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The file that marks a directory as a persist store (Lotus' name and, mostly, form).
const MARK: &str = "sectorstore.json";
/// The file that marks a worker's sealing store.
const SEALING: &str = ".holder";

/// What a scan found: stores, and what is wrong with some.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) stores: Vec<StorePolicy>,
    pub(super) faults: Vec<String>,
}

/// A store of the file; the name falls back to the path as it was written.
pub(super) fn configured(raw: PersistStore, path: PathBuf) -> StorePolicy {
    let PersistStore {
        name,
        path: written,
        strict,
        read_only,
        weight,
        allow_miners,
        deny_miners,
        meta,
    } = raw;
    StorePolicy {
        name: if name.is_empty() { written } else { name },
        path,
        strict,
        read_only,
        weight,
        allow_miners,
        deny_miners,
        meta,
    }
}

/// The sealing store in which a directory lies or which it is, if so: its worker clears it after
/// every sector, with whatever else lies in it.
pub(super) fn sealing_store_around(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let around = path.ancestors().find(|dir| dir.join(SEALING).is_file());
    around.map(Path::to_owned)
}

/// Looks through the directories that the pattern matches; those without the marking file are passed over.
pub(super) fn scan(pattern: &str) -> Scan {
    let mut scan = Scan::default();
    let paths = match glob::glob(pattern) {
        Ok(paths) => paths,
        Err(error) => {
            scan.faults
                .push(format!("{pattern:?} is not a glob pattern: {error}"));
            return scan;
        }
    };
    for path in paths {
        let directory = match path {
            Ok(path) => path,
            Err(error) => {
                scan.faults.push(format!(
                    "{pattern:?} leads to a directory that cannot be read: {error}"
                ));
                continue;
            }
        };
        let mark = directory.join(MARK);
        match std::fs::read_to_string(&mark) {
            Ok(text) => match read(&text, &directory) {
                Ok(store) => scan.stores.push(store),
                Err(what) => scan.faults.push(format!("{} {what}", mark.display())),
            },
            Err(error) => match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {}
                _ => scan
                    .faults
                    .push(format!("{} cannot be read: {error}", mark.display())),
            },
        }
    }
    scan
}

/// One `sectorstore.json`. Keys match whatever their case; unknown ones (Lotus' `CanSeal` …)
/// are passed over, because other programs own the file too.
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
    let name: String = get(&json, "Name")?;
    let name = if name.is_empty() {
        get(&json, "ID")?
    } else {
        name
    };
    if name.is_empty() {
        return Err("has neither Name nor ID".into());
    }
    Ok(StorePolicy {
        name,
        path: directory.to_owned(),
        strict: get(&json, "Strict")?,
        read_only: get(&json, "ReadOnly")?,
        weight: get(&json, "Weight")?,
        allow_miners: get(&json, "AllowMiners")?,
        deny_miners: get(&json, "DenyMiners")?,
        meta: get(&json, "Meta")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealing_store_is_found_around_a_directory_links_resolved() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("s1/data/store")).unwrap();
        std::fs::create_dir(real.join("hdd")).unwrap();
        std::fs::write(real.join("s1/.holder"), "").unwrap();
        std::os::unix::fs::symlink(real.join("s1/data"), real.join("link")).unwrap();
        for inside in ["s1", "s1/data/store", "link/store"] {
            let found = sealing_store_around(&root.path().join(inside));
            assert_eq!(found, Some(real.join("s1")), "{inside}");
        }
        for apart in ["hdd", "missing", ""] {
            assert_eq!(
                sealing_store_around(&root.path().join(apart)),
                None,
                "{apart}"
            );
        }
    }

    #[test]
    fn scanning_takes_marked_directories_only() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, text: Option<&str>| {
            let dir = root.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            if let Some(text) = text {
                std::fs::write(dir.join(MARK), text).unwrap();
            }
        };
        make(
            "a",
            Some(
                r#"{"ID":"id-a","name":"st-a","Path":"/elsewhere","weight":3,"CanSeal":true,"DenyMiners":[7],"Meta":null}"#,
            ),
        );
        make("b", Some(r#"{"ID":"id-b","ReadOnly":true}"#));
        make("c", None);
        make("d", Some("nonsense"));
        make("e", Some(r#"{"Name":"x","PluginName":"s3"}"#));
        make("f", Some("{}"));
        let scan = scan(root.path().join("*").to_str().unwrap());
        let [a, b] = &scan.stores[..] else {
            panic!("{scan:?}")
        };
        assert_eq!(
            (a.name.as_str(), a.weight, &a.deny_miners[..]),
            ("st-a", 3, &[7][..])
        );
        assert_eq!(a.path, root.path().join("a"));
        assert_eq!((b.name.as_str(), b.read_only), ("id-b", true));
        assert_eq!(scan.faults.len(), 3, "{scan:?}");
        assert!(super::scan("[").faults[0].contains("not a glob"));
    }
}
