//! What is said of a configuration that is good.

use super::Config;
use std::{collections::BTreeMap, path::Path};

impl Config {
    /// One line per kind of notice, with all the keys it is about.
    pub fn warnings(&self) -> Vec<String> {
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for n in &self.notices {
            kinds
                .entry(&n.message)
                .or_default()
                .push(format!("{} (line {})", n.key, n.line));
        }
        kinds
            .into_iter()
            .map(|(what, keys)| format!("{}: {what}", keys.join(", ")))
            .collect()
    }

    /// That it is good, in one line.
    pub fn summary(&self, path: &Path) -> String {
        format!(
            "# {} is good; miners: {}, persist stores: {}",
            path.display(),
            self.miners.len(),
            self.stores.len()
        )
    }
}
