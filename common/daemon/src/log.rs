//! Logs: tracing to stderr, RFC 3339 times, text for people or JSON for collectors. Much of what is
//! said came from others (a node, a worker, a child's stderr): nothing of it acts upon a terminal
//! or can be taken for a line of ours.

use crate::exit::{self, Exit, Fatal};
use clap::{Args, ValueEnum};
use damocles_types::shown_lines;
use std::{fmt::Debug, io::IsTerminal};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
    util::SubscriberInitExt,
};

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Command-line part; flatten it into a daemon's arguments.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// Form of log lines; levels come from DAMOCLES_LOG or RUST_LOG, e.g. DAMOCLES_LOG=info,damocles_manager=debug
    #[arg(
        long,
        value_enum,
        default_value = "text",
        env = "DAMOCLES_LOG_FORMAT",
        hide_env_values = true,
        global = true
    )]
    pub log_format: LogFormat,
}

/// Fields in text: `message name=value`, with what a value does to a terminal written out.
#[derive(Clone, Copy, Debug)]
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut line = Line {
            to,
            begun: false,
            written: Ok(()),
        };
        fields.record(&mut line);
        line.written
    }
}

struct Line<'w> {
    to: Writer<'w>,
    begun: bool,
    written: std::fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // where a line of the crate `log` came from is told by its target already
        if self.written.is_err() || field.name().starts_with("log.") {
            return;
        }
        let gap = if self.begun { " " } else { "" };
        let text = shown_lines(&format!("{value:?}"), usize::MAX);
        self.written = match field.name() {
            "message" => write!(self.to, "{gap}{text}"),
            name => write!(self.to, "{gap}{}={text}", name.trim_start_matches("r#")),
        };
        self.begun = true;
    }
}

/// Starts logging for the process; panics are logged too. To be called once.
///
/// `default_filter` holds when neither `DAMOCLES_LOG` nor `RUST_LOG` is set, e.g. `"info"`.
pub fn init(args: &LogArgs, default_filter: &str) -> Result<(), Fatal> {
    let (name, text) = ["DAMOCLES_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, std::env::var(name).ok().filter(|v| !v.is_empty())?)))
        .unwrap_or(("the built-in log filter", default_filter.to_owned()));
    let filter = EnvFilter::try_new(&text).map_err(|e| {
        Fatal::new(
            Exit::Usage,
            format!("{name} is {text:?}, which is not a log filter: {e}"),
        )
        .hint("write levels, and levels per module, as in info,damocles_manager=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => builder
            .fmt_fields(Fields)
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .try_init(),
    };
    set.map_err(|e| Fatal::new(Exit::Unexpected, format!("logging was set up twice: {e}")))?;
    std::panic::set_hook(Box::new(|info| {
        exit::end_if_nobody_reads(info);
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        tracing::error!(place, "panicked: {what}");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_say_forges_no_line_and_moves_no_cursor() {
        let paper = Paper::default();
        let to = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(Fields)
            .finish();
        let said = "no\u{0}\u{1b}[31m\r\nERROR forged\u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            let _in = tracing::info_span!("thread", index = 3, name = said).entered();
            tracing::warn!(error = %said, kind = "text", n = 7, "it said {said}");
        });
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let cleaned = "no\\u{0}\\u{1b}[31m\n  | ERROR forged\\u{202e}";
        assert_eq!(
            text,
            format!(
                " WARN thread{{index=3 name=\"no\\0\\u{{1b}}[31m\\r\\nERROR forged\\u{{202e}}\"}}: it said {cleaned} error={cleaned} kind=\"text\" n=7\n"
            )
        );
    }
}
