//! Which build this is. The commit comes from the environment variable `DAMOCLES_COMMIT`
//! at compile time, so that a commit alone never rebuilds the workspace.

/// Version of the workspace, e.g. `0.14.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version in upstream's form: `v<version>-prod-git.<commit>`.
pub fn version() -> String {
    of(option_env!("DAMOCLES_COMMIT"))
}

fn of(commit: Option<&str>) -> String {
    match commit {
        Some(commit) if !commit.is_empty() => format!("v{VERSION}-prod-git.{commit}"),
        _ => format!("v{VERSION}-prod"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_has_upstreams_form() {
        let number = env!("CARGO_PKG_VERSION");
        for (commit, rest) in [
            (Some("1a2b3c4"), "-prod-git.1a2b3c4"),
            (Some(""), "-prod"),
            (None, "-prod"),
        ] {
            assert_eq!(super::of(commit), format!("v{number}{rest}"));
        }
    }
}
