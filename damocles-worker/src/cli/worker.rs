//! `worker …`: a running worker, asked and commanded through its RPC.

use crate::{config, manager::rejected_status};
use clap::Subcommand;
use comfy_table::{Table, presets};
use damocles_api::{
    WORKER_DEFAULT_PORT,
    code::NOT_PERMITTED,
    timeline::{Ending, TimelineEntry},
    worker::{ThreadInfo, ThreadState, WorkerClient},
};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_flow::State;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonrpsee::{
    core::{ClientError, client::Error},
    http_client::{HttpClient, HttpClientBuilder},
    types::error::INVALID_PARAMS_CODE,
};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker worker list
  damocles-worker worker -H 10.0.0.7:17890 list --json
  damocles-worker worker pause -i 0
  damocles-worker worker resume -i 0 --state TreeDBuilt   seal the same sector anew, with a fresh ticket
  damocles-worker worker resume -i 0 --state Aborted      give the sector up
  damocles-worker worker timeline -i 0                    how long each stage took and waited")]
pub(super) struct Args {
    /// Where the worker listens; 127.0.0.1:17890 when nothing is said
    #[arg(
        short = 'H',
        long,
        env = "DAMOCLES_WORKER_HOST",
        value_name = "IP:PORT",
        global = true
    )]
    host: Option<String>,
    /// Take the address from the worker's config file (comes before --host)
    #[arg(
        short,
        long,
        env = "DAMOCLES_WORKER_CONFIG",
        value_name = "FILE",
        global = true
    )]
    config: Option<PathBuf>,
    /// File with a token; commands from another host need one
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the sealing threads, what they do and what they wait for
    List,
    /// Let a thread rest: at once while it waits, otherwise when its step ends
    Pause(Index),
    /// Let a paused thread go on
    Resume {
        #[command(flatten)]
        index: Index,
        /// Go on from this state of the plan, e.g. TreeDBuilt; Aborted gives the sector up
        #[arg(short, long, value_name = "STATE")]
        state: Option<State>,
    },
    /// Show how long each step of a thread's sector took and waited
    Timeline(Index),
}

#[derive(Debug, clap::Args)]
struct Index {
    /// Number of the thread, as `worker list` shows it
    #[arg(short, long, value_name = "N")]
    index: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let host = host(args)?;
    let client = client(&host, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = runtime.block_on(ask(&client, args));
    match told {
        Ok(()) => Ok(()),
        Err(Told::Call(error)) => Err(call_fatal(&host, error).into()),
        Err(Told::Fatal(fatal)) => Err(fatal.into()),
        Err(Told::Other(error)) => Err(error),
    }
}

enum Told {
    Call(ClientError),
    Fatal(Fatal),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Told {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<ClientError> for Told {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

async fn ask(client: &HttpClient, args: &Args) -> Result<(), Told> {
    match &args.command {
        Command::List => {
            let threads = client.worker_list().await?;
            show(args.json, &threads, || list_table(&threads))?;
        }
        Command::Pause(Index { index }) => {
            let asked = client.worker_pause(*index).await?;
            if !asked {
                let hint = "see `damocles-worker worker list`";
                let text = format!("thread #{index} is paused already, or about to be");
                return Err(Told::Fatal(Fatal::new(Exit::Refused, text).hint(hint)));
            }
            show(args.json, &asked, || {
                format!("thread #{index} pauses as soon as its present step allows")
            })?;
        }
        Command::Resume {
            index: Index { index },
            state,
        } => {
            let name = state.map(|s| s.to_string());
            let resumed = client.worker_resume(*index, name).await?;
            if !resumed {
                let text = format!("thread #{index} is not paused, so there is nothing to resume");
                return Err(Told::Fatal(Fatal::new(Exit::Refused, text).hint(format!(
                    "pause it first: damocles-worker worker pause -i {index}"
                ))));
            }
            show(args.json, &resumed, || match state {
                Some(state) => format!("thread #{index} goes on from {state}"),
                None => format!("thread #{index} goes on"),
            })?;
        }
        Command::Timeline(Index { index }) => {
            let entries = client.worker_timeline(*index).await?;
            show(args.json, &entries, || timeline_table(&entries))?;
        }
    }
    Ok(())
}

fn show<T: serde::Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    super::say(if json {
        serde_json::to_string_pretty(value)?
    } else {
        text()
    })
}

fn host(args: &Args) -> Result<String, Fatal> {
    if let Some(file) = &args.config {
        let (host, port) = config::listen_of(file)?;
        let host = match host.as_deref() {
            None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
            Some(v6) if v6.contains(':') => format!("[{v6}]"),
            Some(host) => host.to_owned(),
        };
        return Ok(format!("{host}:{}", port.unwrap_or(WORKER_DEFAULT_PORT)));
    }
    Ok(match &args.host {
        Some(host) if host.contains(':') => host.clone(),
        Some(host) => format!("{host}:{WORKER_DEFAULT_PORT}"),
        None => format!("127.0.0.1:{WORKER_DEFAULT_PORT}"),
    })
}

fn client(host: &str, args: &Args) -> Result<HttpClient, Fatal> {
    let mut headers = HeaderMap::new();
    if let Some(file) = &args.token_file {
        let token = std::fs::read_to_string(file).map_err(|e| {
            Fatal::new(
                Exit::Usage,
                format!("the token {} cannot be read: {e}", file.display()),
            )
        })?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| Fatal::new(Exit::Usage, format!("{} holds no token", file.display())))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    HttpClientBuilder::default()
        .request_timeout(Duration::from_secs(10))
        .set_headers(headers)
        .build(format!("http://{host}/"))
        .map_err(|e| {
            Fatal::new(Exit::Usage, format!("{host:?} is not an address: {e}"))
                .hint("write for example -H 127.0.0.1:17890")
        })
}

fn call_fatal(host: &str, error: ClientError) -> Fatal {
    match error {
        Error::Call(e) if e.code() == INVALID_PARAMS_CODE && e.message().contains("not found") => {
            Fatal::new(Exit::NotFound, e.message()).hint("see `damocles-worker worker list`")
        }
        Error::Call(e) if e.code() == NOT_PERMITTED => Fatal::new(Exit::Refused, e.message())
            .hint("run it on the worker's own host, or give --token-file"),
        Error::Call(e) => Fatal::new(Exit::Refused, e.message())
            .hint("see `damocles-worker worker list` for the thread's plan and state"),
        other if rejected_status(&other) == Some(401) => Fatal::new(
            Exit::Refused,
            format!("the worker at {host} does not accept the token"),
        )
        .hint("the token must be made with the secret of [worker] rpc_server.token_secret_file"),
        other => Fatal::new(
            Exit::Unreachable,
            format!("no worker answers at {host}: {other}"),
        )
        .hint("is it running? Give its address with -H IP:PORT, or its config with -c FILE"),
    }
}

fn list_table(threads: &[ThreadInfo]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "#",
        "location",
        "plan",
        "sector",
        "state",
        "stage",
        "doing",
        "for",
        "last error",
    ]);
    for thread in threads {
        let (doing, elapsed, detail) = match &thread.thread_state {
            ThreadState::Idle => ("idle", None, None),
            ThreadState::Paused { elapsed } => ("paused", Some(*elapsed), None),
            ThreadState::Running { elapsed, proc } => ("running", Some(*elapsed), proc.clone()),
            ThreadState::Waiting { elapsed } => ("waiting", Some(*elapsed), None),
        };
        let detail = thread.waiting_for.clone().or(detail);
        let error = match (&thread.last_error, &thread.hint) {
            (Some(error), Some(hint)) => format!("{error} (hint: {hint})"),
            (Some(error), None) => error.clone(),
            (None, _) => "-".to_owned(),
        };
        table.add_row([
            thread.index.to_string(),
            thread.location.clone(),
            thread.plan.clone(),
            thread.job_id.clone().unwrap_or_else(|| "-".to_owned()),
            match thread.job_state.as_str() {
                "" => "-".to_owned(),
                state => state.to_owned(),
            },
            thread.job_stage.clone().unwrap_or_else(|| "-".to_owned()),
            match detail {
                Some(detail) => format!("{doing}: {detail}"),
                None => doing.to_owned(),
            },
            elapsed.map_or_else(|| "-".to_owned(), |s| span(s * 1000)),
            error,
        ]);
    }
    table.to_string()
}

/// Whole seconds as people read them.
fn span(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

fn timeline_table(entries: &[TimelineEntry]) -> String {
    if entries.is_empty() {
        return "no sector has been worked on here yet".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["#", "state", "stage", "waited", "ran", "by", "ending"]);
    for entry in entries {
        let ending = match &entry.ending {
            None => "goes on".to_owned(),
            Some(Ending::Done { next }) => format!("→ {next}"),
            Some(Ending::Interrupted) => "interrupted".to_owned(),
            Some(Ending::Failed { level, message }) => format!("{level}: {message}"),
        };
        table.add_row([
            entry.seq.to_string(),
            entry.state.clone(),
            entry.stage.clone(),
            span(entry.waited_ms()),
            span(entry.ran_ms()),
            entry.child.clone().unwrap_or_else(|| "-".to_owned()),
            ending,
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_a_thread_waits_for_and_what_to_do() {
        let thread = ThreadInfo {
            location: "/nvme/0".into(),
            plan: "sealer".into(),
            job_id: Some("s-t01000-7".into()),
            index: 3,
            thread_state: ThreadState::Waiting { elapsed: 65 },
            job_state: "PC1Done".into(),
            job_stage: Some("PC2".into()),
            last_error: Some("temporary: gone".into()),
            waiting_for: Some("the lock gpu".into()),
            hint: Some("look".into()),
        };
        let text = list_table(&[thread]);
        for part in [
            "s-t01000-7",
            "waiting: the lock gpu",
            "1m 5s",
            "temporary: gone (hint: look)",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
