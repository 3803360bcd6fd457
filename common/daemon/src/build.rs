//! Which build this is. The commit comes from the environment variable `DAMOCLES_COMMIT`
//! at compile time, so that a commit alone never rebuilds the workspace.

/// Version of the workspace, e.g. `0.14.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version in upstream's form: `v<version>-prod-git.<commit>`.
pub fn version() -> String {
    match option_env!("DAMOCLES_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("v{VERSION}-prod-git.{commit}"),
        _ => format!("v{VERSION}-prod"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_starts_as_upstreams_does() {
        assert!(super::version().starts_with(&format!("v{}-prod", super::VERSION)));
    }
}
