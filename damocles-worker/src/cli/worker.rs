//! `worker …`: a running worker, asked and commanded through its RPC.

use super::{
    drain::{has_come, in_work, is_taken_back},
    top,
};
use crate::{config, draining::DrainTo, manager::rejected_status};
use clap::Subcommand;
use damocles_api::{
    WORKER_DEFAULT_PORT,
    code::NOT_PERMITTED,
    show,
    timeline::TimelineEntry,
    worker::{StageInfo, ThreadInfo, ThreadState, WorkerClient},
};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    net, patience,
    table::{Table, terminal_width},
};
use damocles_flow::State;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonrpsee::{
    core::{ClientError, client::Error},
    http_client::{HttpClient, HttpClientBuilder},
    types::error::INVALID_PARAMS_CODE,
};
use std::{path::PathBuf, time::Duration};
use strum::IntoEnumIterator;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker worker list
  damocles-worker worker -H 10.0.0.7:17890 list --json
  damocles-worker worker pause -i 0
  damocles-worker worker resume -i 0 --state TreeDBuilt   seal the same sector anew, with a fresh ticket (until its precommit was sent)
  damocles-worker worker resume --all                     every paused thread goes on where it stopped
  damocles-worker worker drain --wait                     take nothing new, and return when all sectors are done
  damocles-worker worker drain --to ticket --wait         the same, but sectors without a ticket stand where they would draw one
  damocles-worker worker resume -i 0 --state Aborted      give the sector up; what is on chain or in a persist store stays there
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
    /// Let a paused thread go on, or all that are paused
    Resume {
        #[command(flatten)]
        which: Which,
        /// Go on from this state of the plan, e.g. TreeDBuilt; Aborted gives the sector up
        #[arg(short, long, value_name = "STATE", value_parser = state, conflicts_with = "all")]
        state: Option<State>,
    },
    /// Give the sector of a paused thread up; what is on chain or in a persist store stays there
    #[command(after_help = "\
Example:
  damocles-worker worker pause -i 0 && damocles-worker worker abort -i 0 --reason 'its disk fails'")]
    Abort {
        /// Number of the thread, as `worker list` shows it
        #[arg(short, long, value_name = "N")]
        index: u64,
        /// Why; the manager keeps it with the sector
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End the process that computes for a thread, with whatever else runs in it; the stage is tried again
    #[command(after_help = "\
Example, to stop a stage that runs and not begin it again:
  damocles-worker worker pause -i 0 && damocles-worker worker kill -i 0")]
    Kill(Index),
    /// Begin no new sector; those in work are taken to a point, or to their end
    #[command(after_help = "\
Example, before a host is switched off:
  damocles-worker worker drain --wait && systemctl stop damocles-worker

A sector whose precommit may be on chain goes on to its end wherever the others stop: without
its proof the precommit expires, and the deposit is lost. The answer says of each sector what
becomes of it. A worker drains until `undrain`, also when it was started anew meanwhile.")]
    Drain {
        /// How far: `step` (to the end of the step that runs), `ticket` (to where a ticket would be
        /// drawn; sectors that have one go on to their end), `precommit` (to where the precommit would be
        /// handed in; the ticket ages meanwhile), `end`
        #[arg(long, value_name = "POINT", default_value = "end", value_parser = drain_to)]
        to: DrainTo,
        /// Return when the last sector has come there, and say meanwhile what is left
        #[arg(long)]
        wait: bool,
    },
    /// Begin sectors again
    Undrain,
    /// Follow the worker on one screen: threads, processors, disks
    #[command(after_help = "\
Examples:
  damocles-worker worker top                   until Ctrl-C
  damocles-worker worker top --once --json")]
    Top(top::Args),
    /// Show the child processes that compute, and what waits for them
    Processors,
    /// Keep what a child says that is no answer, in files of a directory
    #[command(
        visible_alias = "enable_dump",
        after_help = "\
Example, for a program that talks nonsense:
  damocles-worker worker enable-dump --child pc1-0 --dump-dir /var/tmp/dump

It holds for the child's successors, until `disable-dump` or the worker's restart; at most 100 files."
    )]
    EnableDump {
        #[command(flatten)]
        child: WhichChild,
        /// Directory on the worker's host, by its whole path
        #[arg(long, visible_alias = "dump_dir", value_name = "DIR")]
        dump_dir: String,
    },
    /// Keep it no more
    #[command(visible_alias = "disable_dump")]
    DisableDump(WhichChild),
    /// Show how long each step of a thread's sector took and waited
    Timeline(Index),
}

#[derive(Debug, clap::Args)]
struct Index {
    /// Number of the thread, as `worker list` shows it
    #[arg(short, long, value_name = "N")]
    index: u64,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Number of the thread, as `worker list` shows it
    #[arg(short, long, value_name = "N")]
    index: Option<u64>,
    /// Every thread that is paused; each goes on where it stopped
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichChild {
    /// Name of the child, as `worker processors` shows it
    #[arg(long, value_name = "NAME")]
    child: Option<String>,
    /// Id of its present process
    #[arg(long, visible_alias = "child_pid", value_name = "PID")]
    child_pid: Option<u32>,
}

impl WhichChild {
    fn name(&self) -> String {
        let pid = self.child_pid.map(|pid| pid.to_string());
        self.child.clone().or(pid).unwrap_or_default()
    }
}

/// A state of the sealing plan, by its name.
fn state(name: &str) -> Result<State, String> {
    let known: Vec<State> = State::iter()
        .take_while(|state| *state <= State::Aborted)
        .collect();
    known
        .iter()
        .find(|state| state.to_string() == name)
        .copied()
        .ok_or_else(|| {
            let names: Vec<String> = known.iter().map(ToString::to_string).collect();
            format!("no such state; there are {}", names.join(", "))
        })
}

fn drain_to(name: &str) -> Result<DrainTo, String> {
    name.parse().map_err(|_| {
        let names: Vec<String> = DrainTo::iter().map(|to| to.to_string()).collect();
        format!("a drain goes to {}", names.join(", "))
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let host = host(args)?;
    let client = client(&host, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let whom = format!("the worker at {host}");
    let told = match &args.command {
        // it has the screen for itself, and says there what it waits for
        Command::Top(_) => runtime.block_on(ask(&client, args)),
        _ => runtime.block_on(patience::told(&whom, ask(&client, args))),
    };
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
            print(args.json, &threads, || {
                list_table(&threads, terminal_width())
            })?;
        }
        Command::Pause(Index { index }) => {
            let asked = client.worker_pause(*index).await?;
            if !asked {
                let hint = "see `damocles-worker worker list`";
                let text = format!("thread #{index} is paused already, or about to be");
                return Err(Told::Fatal(Fatal::new(Exit::Refused, text).hint(hint)));
            }
            print(args.json, &asked, || {
                format!(
                    "thread #{index} pauses: at once if it waits, otherwise when its present step ends"
                )
            })?;
        }
        Command::Resume { which, state } => match which.index {
            Some(index) => resume(client, args, index, *state).await?,
            None => resume_all(client, args).await?,
        },
        Command::Abort { index, reason } => {
            let given_up = client.worker_abort(*index, reason.clone()).await?;
            if !given_up {
                return Err(not_paused(*index));
            }
            print(args.json, &given_up, || {
                format!("the sector of thread #{index} is given up")
            })?;
        }
        Command::Kill(Index { index }) => {
            let killed = client.worker_kill(*index).await?;
            if !killed {
                let text = format!("nothing computes for thread #{index}");
                let hint = "see `damocles-worker worker list`";
                return Err(Told::Fatal(Fatal::new(Exit::Refused, text).hint(hint)));
            }
            print(args.json, &killed, || {
                format!("what computed for thread #{index} is killed")
            })?;
        }
        Command::Drain { to, wait } => drain(client, args, *to, *wait).await?,
        Command::Undrain => {
            let left = client.worker_drain(false, None).await?;
            print(args.json, &left, || "sectors are begun again".to_owned())?;
        }
        Command::Top(top) => {
            let host = host(args).map_err(Told::Fatal)?;
            top::run(client, &host, top, args.json).await??;
        }
        Command::Processors => {
            let stages = client.worker_processors().await?;
            print(args.json, &stages, || {
                processors_table(&stages, terminal_width())
            })?;
        }
        Command::EnableDump { child, dump_dir } => {
            let child = child.name();
            let kept = client.worker_dump(child.clone(), Some(dump_dir.clone()));
            print(args.json, &kept.await?, || {
                format!("bad answers of {child} are kept in {dump_dir}")
            })?;
        }
        Command::DisableDump(child) => {
            let child = child.name();
            let kept = client.worker_dump(child.clone(), None);
            print(args.json, &kept.await?, || {
                format!("bad answers of {child} are kept no more")
            })?;
        }
        Command::Timeline(Index { index }) => {
            let entries = client.worker_timeline(*index).await?;
            let now = SystemClock.now_ms();
            print(args.json, &entries, || {
                timeline_table(&entries, now, terminal_width())
            })?;
        }
    }
    Ok(())
}

async fn resume(
    client: &HttpClient,
    args: &Args,
    index: u64,
    state: Option<State>,
) -> Result<(), Told> {
    let name = state.map(|s| s.to_string());
    let resumed = client.worker_resume(index, name).await?;
    if !resumed {
        return Err(not_paused(index));
    }
    print(args.json, &resumed, || match state {
        Some(state) => format!("thread #{index} goes on from {state}"),
        None => format!("thread #{index} goes on"),
    })?;
    Ok(())
}

fn not_paused(index: u64) -> Told {
    let text = format!("thread #{index} is not paused, so there is nothing to resume");
    let hint = format!("pause it first: damocles-worker worker pause -i {index}");
    Told::Fatal(Fatal::new(Exit::Refused, text).hint(hint))
}

/// With `--json` the numbers of those that go on.
async fn resume_all(client: &HttpClient, args: &Args) -> Result<(), Told> {
    let mut resumed = Vec::new();
    for thread in client.worker_list().await? {
        let paused = matches!(thread.thread_state, ThreadState::Paused { .. });
        // one that somebody else has resumed meanwhile goes on as well
        if paused && client.worker_resume(thread.index, None).await? {
            resumed.push(thread.index);
        }
    }
    print(args.json, &resumed, || match resumed.len() {
        0 => "no thread is paused".to_owned(),
        _ => {
            let all: Vec<String> = resumed.iter().map(|index| format!("#{index}")).collect();
            format!("{} go on", all.join(", "))
        }
    })?;
    Ok(())
}

/// Between two looks at what is left.
const DRAIN_LOOK: Duration = Duration::from_secs(2);

/// What is left is said once for each change of it. It is ordered once: whoever takes the order back
/// meanwhile is not overruled by one that only waits.
async fn drain(client: &HttpClient, args: &Args, to: DrainTo, wait: bool) -> Result<(), Told> {
    let mut sectors = client.worker_drain(true, Some(to.to_string())).await?;
    let mut said = String::new();
    while wait && !sectors.iter().all(has_come) {
        let now = in_work(&sectors);
        if now != said && !args.json {
            super::say(&now)?;
            said = now;
        }
        tokio::time::sleep(DRAIN_LOOK).await;
        sectors = client.worker_list().await?;
        sectors.retain(|thread| thread.job_id.is_some());
        if is_taken_back(&sectors) {
            let text =
                "somebody let the worker begin sectors again while this waited for its drain";
            let hint = "ask who typed `damocles-worker worker undrain`; `worker drain --wait` orders it anew";
            return Err(Told::Fatal(Fatal::new(Exit::Refused, text).hint(hint)));
        }
    }
    print(args.json, &sectors, || in_work(&sectors))?;
    Ok(())
}

fn print<T: serde::Serialize>(
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
            None | Some("0.0.0.0" | "::") => "127.0.0.1",
            Some(host) => host,
        };
        return Ok(net::with_port(host, port.unwrap_or(WORKER_DEFAULT_PORT)));
    }
    let host = args.host.as_deref().unwrap_or("127.0.0.1");
    Ok(net::with_port(host, WORKER_DEFAULT_PORT))
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

fn list_table(threads: &[ThreadInfo], width: Option<usize>) -> String {
    if threads.is_empty() {
        return "no sealing threads".to_owned();
    }
    let mut table = Table::new(&show::THREADS, &["location", "doing", "problem"]);
    for thread in threads {
        table.add_row(show::thread(thread));
    }
    let mut text = table.render(width);
    // whole, with what to do: the list has room for the beginning only
    for problem in threads.iter().filter_map(show::problem) {
        text.push('\n');
        text.push_str(&problem);
    }
    text.trim_end().to_owned()
}

fn processors_table(stages: &[StageInfo], width: Option<usize>) -> String {
    let mut table = Table::new(&show::CHILDREN, &["problem"]);
    for row in stages.iter().flat_map(show::children) {
        table.add_row(row);
    }
    table.render(width).trim_end().to_owned()
}

fn timeline_table(entries: &[TimelineEntry], now: u64, width: Option<usize>) -> String {
    if entries.is_empty() {
        return "no sector has been worked on here yet".to_owned();
    }
    let mut table = Table::new(&show::TIMELINE, &["kernel", "outcome"]);
    for entry in entries {
        table.add_row(show::attempt(entry, now));
    }
    format!("{}{}", table.render(width), show::total(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (host, expected) in [
            ("10.0.0.1", "10.0.0.1:17890"),
            ("sealer-1:1", "sealer-1:1"),
            ("::1", "[::1]:17890"),
            ("[fe80::1]", "[fe80::1]:17890"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(net::with_port(host, WORKER_DEFAULT_PORT), expected);
        }
    }

    #[test]
    fn a_thread_is_one_line_and_its_problem_stands_whole_below() {
        let lost = format!(
            "temporary: the c2 process was lost{}",
            "\nlast line".repeat(8)
        );
        let threads = [ThreadInfo {
            location: "/nvme/0".into(),
            plan: "sealer".into(),
            job_id: Some("s-t01000-7".into()),
            index: 3,
            thread_state: ThreadState::Waiting { elapsed: 65 },
            job_state: "PC1Done".into(),
            job_stage: Some("PC2".into()),
            last_error: Some(lost.clone()),
            waiting_for: Some("the lock gpu".into()),
            hint: Some("look".into()),
            pause_asked: false,
            progress: None,
            draining: None,
        }];
        let text = list_table(&threads, Some(100));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("waiting: the lock gpu"), "{text}");
        assert!(
            lines[1].ends_with('…') && lines[1].chars().count() <= 100,
            "{text}"
        );
        assert!(
            text.contains(&format!(
                "\n#3: {}\n    hint: look",
                lost.replace('\n', "\n  | ")
            )),
            "{text}"
        );
        assert_eq!(list_table(&[], None), "no sealing threads");
    }

    #[test]
    fn a_wrong_state_is_answered_with_the_right_ones() {
        assert_eq!(state("TreeDBuilt"), Ok(State::TreeDBuilt));
        let error = state("Foo").unwrap_err();
        assert!(
            error.contains("TreeDBuilt") && error.contains("Aborted"),
            "{error}"
        );
        assert!(!error.contains("SnapEncoded"), "{error}");
    }
}
