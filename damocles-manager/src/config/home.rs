//! Where the manager lives: upstream's rules for home and configuration directory.

use std::path::{Path, PathBuf};

/// The configuration file's name in the configuration directory.
pub const CONFIG_FILE: &str = "sector-manager.cfg";
/// Environment variables that name the home, best first (the later ones are upstream's older names).
pub const HOME_VARS: [&str; 3] = ["DAMOCLES_PATH", "VENUS_SECTOR_MANAGER_PATH", "VSM_PATH"];
const CONF_VARS: [&str; 3] = [
    "DAMOCLES_CONF_DIR",
    "VENUS_SECTOR_MANAGER_CONF_DIR",
    "VSM_CONF_DIR",
];

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

fn first(env: Env<'_>, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .find_map(|name| env(name).filter(|v| !v.is_empty()))
        .map(PathBuf::from)
}

/// The home: the flag, the environment, `~/.damocles-manager`, or the older
/// `~/.venus-sector-manager` when only that exists. None: the user has no home directory.
pub fn home_dir(flag: Option<&Path>, env: Env<'_>) -> Option<PathBuf> {
    if let Some(path) = flag {
        return Some(expand(path, env));
    }
    if let Some(path) = first(env, &HOME_VARS) {
        return Some(expand(&path, env));
    }
    let user = PathBuf::from(env("HOME").filter(|v| !v.is_empty())?);
    let (ours, older) = (
        user.join(".damocles-manager"),
        user.join(".venus-sector-manager"),
    );
    Some(if !ours.exists() && older.exists() {
        older
    } else {
        ours
    })
}

/// Where the configuration file is: the flag, the environment, or the home.
pub fn config_dir(flag: Option<&Path>, home: &Path, env: Env<'_>) -> PathBuf {
    flag.map(|path| expand(path, env))
        .or_else(|| first(env, &CONF_VARS).map(|path| expand(&path, env)))
        .unwrap_or_else(|| home.to_owned())
}

/// `~/x` becomes `$HOME/x`.
pub(super) fn expand(path: &Path, env: Env<'_>) -> PathBuf {
    match (path.strip_prefix("~"), env("HOME")) {
        (Ok(rest), Some(user)) => Path::new(&user).join(rest),
        _ => path.to_owned(),
    }
}

/// A path of the file, with the environment's words filled in.
pub(super) fn here(path: &Path) -> PathBuf {
    expand(path, &|name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_then_environment_then_the_usual_place() {
        let user = tempfile::tempdir().unwrap();
        let at = user.path().to_str().unwrap().to_owned();
        let with = |vars: Vec<(&'static str, &'static str)>| {
            let at = at.clone();
            move |name: &str| match name {
                "HOME" => Some(at.clone()),
                _ => vars
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned()),
            }
        };
        let none = with(vec![]);
        let usual = user.path().join(".damocles-manager");
        assert_eq!(home_dir(None, &none), Some(usual.clone()));
        std::fs::create_dir(user.path().join(".venus-sector-manager")).unwrap();
        assert_eq!(
            home_dir(None, &none),
            Some(user.path().join(".venus-sector-manager"))
        );
        std::fs::create_dir(&usual).unwrap();
        assert_eq!(home_dir(None, &none), Some(usual));
        let both = with(vec![("VSM_PATH", "/old"), ("DAMOCLES_PATH", "/new")]);
        assert_eq!(home_dir(None, &both), Some("/new".into()));
        assert_eq!(
            home_dir(Some(Path::new("~/x")), &both),
            Some(user.path().join("x"))
        );
        assert_eq!(
            config_dir(None, Path::new("/h"), &none),
            PathBuf::from("/h")
        );
        let conf = with(vec![("VSM_CONF_DIR", "/c")]);
        assert_eq!(
            config_dir(None, Path::new("/h"), &conf),
            PathBuf::from("/c")
        );
    }
}
