//! What the words of RocksDB's errors mean: whether a failure is of the disk, of the contents,
//! or of somebody else who holds the database, and whether it ends by itself.

use std::time::Instant;

/// Writes fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since the first that failed.
    pub since: Instant,
    /// What the database said then.
    pub reason: String,
    /// The disk is full: writes go on by themselves when there is room.
    pub full: bool,
    /// The server is away: writes go on by themselves when it is back.
    pub away: bool,
}

impl Trouble {
    pub(crate) fn new(reason: &str) -> Self {
        Self {
            since: Instant::now(),
            reason: reason.to_owned(),
            full: heals_by_itself(reason),
            away: false,
        }
    }

    pub(crate) fn away(reason: &str) -> Self {
        Self {
            away: true,
            ..Self::new(reason)
        }
    }
}

/// RocksDB looks every few seconds whether a full disk has room again. From everything else it
/// does not come back.
pub(crate) fn heals_by_itself(reason: &str) -> bool {
    reason.contains("No space left on device")
}

/// What kept a database from being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another process has it, or this one a second time.
    Busy,
    /// This user may not write, or there is no room.
    Unwritable,
    /// The operating system failed; the contents may be well.
    System,
    /// It was written by a program that has what this one has not.
    Unsupported,
    /// A log is missing, or shorter than it was.
    Log,
    /// The contents are not what was written.
    Contents,
}

/// By kind and text: the number of the system's error is only in the text.
pub(crate) fn cause(error: &str) -> Cause {
    let has = |words: &str| error.contains(words);
    if has("lock hold by current process")
        || (has("lock file") && has("Resource temporarily unavailable"))
    {
        return Cause::Busy;
    }
    if error.starts_with("Not implemented") {
        return Cause::Unsupported;
    }
    if has("Missing WAL") || has("Size mismatch: WAL") {
        return Cause::Log;
    }
    if !error.starts_with("IO error") {
        return Cause::Contents;
    }
    if [
        "Permission denied",
        "Read-only file system",
        "No space left",
    ]
    .into_iter()
    .any(has)
    {
        return Cause::Unwritable;
    }
    // a file that the database lists is gone
    if has("No such file or directory") {
        return Cause::Contents;
    }
    Cause::System
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_system_is_not_called_damage_and_a_missing_lock_is_not_called_use() {
        for (text, expected) in [
            (
                "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /m/LOCK: No locks available",
                Cause::Busy,
            ),
            (
                "IO error: While lock file: /m/LOCK: Resource temporarily unavailable",
                Cause::Busy,
            ),
            (
                "IO error: While lock file: /m/LOCK: No locks available",
                Cause::System,
            ),
            (
                "IO error: While open a file for appending: /m/000034.log: Too many open files",
                Cause::System,
            ),
            (
                "IO error: While pread offset 0 len 53: /m/000012.sst: Input/output error",
                Cause::System,
            ),
            (
                "IO error: While mmap: /m/000012.sst: Cannot allocate memory",
                Cause::System,
            ),
            (
                "IO error: While open a file for appending: /m/LOG: Permission denied",
                Cause::Unwritable,
            ),
            (
                "IO error: While appending to file: /m/1.log: No space left on device",
                Cause::Unwritable,
            ),
            (
                "IO error: While opening a file for sequentially reading: /m/MANIFEST-000005: No such file or directory",
                Cause::Contents,
            ),
            ("Corruption: checksum mismatch", Cause::Contents),
            ("Corruption: Missing WAL with log number: 12.", Cause::Log),
            (
                "Not implemented: Snappy not supported in this build",
                Cause::Unsupported,
            ),
        ] {
            assert_eq!(cause(text), expected, "{text}");
        }
    }
}
