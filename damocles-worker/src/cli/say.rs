//! How a command speaks on stdout.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A line on stdout. A reader that has seen enough (`| head`) is no error.
pub(super) fn say(line: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
