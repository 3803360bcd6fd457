//! How a program of ours ends: the table of exit codes, and the error that chooses one.

use damocles_types::shown;
use std::{fmt, panic::PanicHookInfo, process::ExitCode};

/// Exit codes, the same for every program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing foresaw this; the message is for a bug report.
    Unexpected = 1,
    /// The command line is wrong (also clap's own code).
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// A daemon or node that is needed cannot be reached.
    Unreachable = 4,
    /// Somebody refused: a permission is missing, or the request makes no sense now.
    Refused = 5,
    /// Already running: the port or the home is taken.
    Occupied = 6,
    /// What was asked for does not exist.
    NotFound = 7,
    /// Stored data is of a newer version, of another program, or damaged.
    Data = 8,
    /// Proof parameters are missing.
    Parameters = 9,
    /// The database of a running daemon cannot be written any more; a start may heal it.
    Database = 10,
}

impl Exit {
    /// Every code but success, for documents.
    pub const ALL: [Self; 10] = [
        Self::Unexpected,
        Self::Usage,
        Self::Config,
        Self::Unreachable,
        Self::Refused,
        Self::Occupied,
        Self::NotFound,
        Self::Data,
        Self::Parameters,
        Self::Database,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// When a program ends with it, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unexpected => "nothing foresaw this: please report it",
            Self::Usage => "the command line is wrong",
            Self::Config => "the configuration is wrong",
            Self::Unreachable => "a daemon or node that is needed cannot be reached",
            Self::Refused => "refused: a permission is missing, or it makes no sense now",
            Self::Occupied => "already running: the port or the home is taken",
            Self::NotFound => "what was asked for does not exist",
            Self::Data => "stored data is damaged, missing, newer, or another program's",
            Self::Parameters => "proof parameters are missing",
            Self::Database => "the database of a running daemon cannot be written any more",
        }
    }

    /// The table, for the end of a `--help`.
    pub fn table() -> String {
        let mut text = "Exit codes:\n   0  success\n".to_owned();
        for exit in Self::ALL {
            text.push_str(&format!("  {:2}  {}\n", exit.code(), exit.meaning()));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// An error that ends the program: one sentence, what to do about it, and the exit code.
#[derive(Debug)]
pub struct Fatal {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

impl Fatal {
    /// An error without a hint yet.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Adds the next step that a person can take.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}

/// Runs the program's body; an error becomes `error: …`, perhaps `hint: …`, on stderr and an exit code.
/// A [`Fatal`] anywhere in the chain chooses code and hint.
pub fn run_main(body: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        end_if_nobody_reads(info);
        before(info);
    }));
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (text, exit) = render(&error);
            // others have a word in it; lines of ours it may have many
            for line in text.lines() {
                eprintln!("{}", shown(line, usize::MAX));
            }
            ExitCode::from(exit.code())
        }
    }
}

/// Ends the program quietly if it "panicked" because the reader of its output has left, as
/// `head` does when it has seen enough. For panic hooks.
pub(crate) fn end_if_nobody_reads(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    if text.is_some_and(is_closed_output) {
        #[expect(clippy::exit, reason = "as SIGPIPE would, but for our output only")]
        std::process::exit(128 + libc::SIGPIPE);
    }
}

/// The words with which `println!` gives up on a closed pipe.
fn is_closed_output(panic: &str) -> bool {
    panic.starts_with("failed printing to std") && panic.contains("Broken pipe")
}

/// What [`run_main`] prints for an error, and its code.
pub fn render(error: &anyhow::Error) -> (String, Exit) {
    match error.downcast_ref::<Fatal>() {
        Some(fatal) => {
            let mut text = format!("error: {}\n", fatal.message);
            if let Some(hint) = &fatal.hint {
                text.push_str(&format!("hint: {hint}\n"));
            }
            (text, fatal.exit)
        }
        None => (format!("error: {error:#}\n"), Exit::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_fatal_chooses_code_and_hint_even_under_context() {
        let fatal = Fatal::new(Exit::Occupied, "port 1789 is taken").hint("stop the other one");
        let error = Err::<(), _>(fatal).context("while starting").unwrap_err();
        assert_eq!(
            render(&error),
            (
                "error: port 1789 is taken\nhint: stop the other one\n".into(),
                Exit::Occupied
            )
        );
        let plain = anyhow::anyhow!("inner").context("outer");
        assert_eq!(
            render(&plain),
            ("error: outer: inner\n".into(), Exit::Unexpected)
        );
    }

    #[test]
    fn only_a_closed_output_ends_quietly() {
        assert!(is_closed_output(
            "failed printing to stdout: Broken pipe (os error 32)"
        ));
        assert!(!is_closed_output(
            "failed printing to stdout: No space left on device (os error 28)"
        ));
        assert!(!is_closed_output("Broken pipe"));
    }

    #[test]
    fn the_printed_table_has_every_code() {
        let table = Exit::table();
        assert_eq!(table.lines().count(), Exit::ALL.len() + 2);
        assert!(table.contains("   8  stored data"), "{table}");
    }

    #[test]
    fn codes_count_up_from_one() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(codes, (1..=10).collect::<Vec<u8>>());
    }
}
