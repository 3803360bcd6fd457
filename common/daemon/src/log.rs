//! Logs: tracing to stderr, RFC 3339 times, text for people or JSON for collectors.

use crate::exit::{self, Exit, Fatal};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

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
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => builder
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
