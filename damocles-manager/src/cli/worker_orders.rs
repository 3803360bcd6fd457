//! `util worker pause|resume|drain|undrain`: a worker is commanded from the manager's host. The manager
//! tells where it listens, and the worker itself is asked.

use super::{
    client::{self, Manager},
    show,
};
use clap::Args;
use damocles_api::{
    sealer_cli::SealerCliClient,
    worker::{ThreadInfo, WorkerClient},
    workers::WorkerPingInfo,
};
use damocles_daemon::exit::{Exit, Fatal};
use jsonrpsee::{core::ClientError, http_client::HttpClient};
use serde_json::json;
use std::path::PathBuf;

/// Which worker, and with what right.
#[derive(Args, Debug)]
pub(super) struct OfWorker {
    /// The worker's name, or its host:port
    name: String,
    /// File with a token of that worker; one on another host takes no orders without
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A worker that can be asked.
pub(super) struct Reached {
    pub(super) rpc: HttpClient,
    /// None: it was named by its address.
    pub(super) known: Option<WorkerPingInfo>,
    name: String,
    url: String,
}

pub(super) fn never_heard(name: &str) -> Fatal {
    Fatal::new(
        Exit::NotFound,
        format!("the manager never heard of a worker {name:?}"),
    )
}

impl Reached {
    /// Where the worker listens, by the manager's word or by its own name.
    pub(super) async fn find(
        manager: &Manager,
        name: &str,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let known = manager.rpc.worker_get_ping_info(name.to_owned()).await;
        let known = known.map_err(|e| manager.failed(e))?;
        let dest = match &known {
            Some(info) => info.info.dest.clone(),
            None if name.contains(':') => name.to_owned(),
            None => {
                return Err(never_heard(name)
                    .hint("`damocles-manager util worker list` shows those it knows; a host:port is asked directly")
                    .into());
            }
        };
        let url = format!("http://{dest}/");
        Ok(Self {
            rpc: client::client(&url, token, None, client::TIME_LIMIT)?,
            known,
            name: name.to_owned(),
            url,
        })
    }

    /// What its failure to answer means.
    pub(super) fn failed(&self, error: ClientError) -> Fatal {
        let fatal = client::fatal(error, &format!("worker {:?}", self.name), &self.url);
        match fatal.hint {
            Some(_) => fatal,
            None => fatal.hint("is it running? `damocles-manager util worker list` shows when it last pinged; a worker that listens elsewhere now is asked by its host:port"),
        }
    }
}

impl OfWorker {
    async fn reach(&self, manager: &Manager) -> anyhow::Result<Reached> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file).map_err(|e| {
                let text = format!("the token {} cannot be read: {e}", file.display());
                Fatal::new(Exit::Usage, text)
            })
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Reached::find(manager, &self.name, token.as_deref().map(str::trim)).await
    }

    pub(super) async fn pause(&self, manager: &Manager, index: u64) -> anyhow::Result<()> {
        let worker = self.reach(manager).await?;
        let paused = worker.rpc.worker_pause(index).await;
        let paused = paused.map_err(|e| worker.failed(e))?;
        let said = if paused {
            "pauses: at once if it waits, otherwise when its present step ends"
        } else {
            "is paused already, or about to be"
        };
        self.told(index, "Paused", paused, said)
    }

    pub(super) async fn resume(
        &self,
        manager: &Manager,
        index: u64,
        state: Option<String>,
    ) -> anyhow::Result<()> {
        let worker = self.reach(manager).await?;
        let resumed = worker.rpc.worker_resume(index, state).await;
        let resumed = resumed.map_err(|e| worker.failed(e))?;
        let said = if resumed { "goes on" } else { "is not paused" };
        self.told(index, "Resumed", resumed, said)
    }

    fn told(&self, index: u64, what: &str, done: bool, said: &str) -> anyhow::Result<()> {
        if self.json {
            return show::json(&json!({ what: done }));
        }
        let text = format!("thread #{index} of {} {said}", self.name);
        if !done {
            let hint = "see `damocles-manager util worker info`";
            return Err(Fatal::new(Exit::Refused, text).hint(hint).into());
        }
        show::say(text);
        Ok(())
    }

    pub(super) async fn drain(
        &self,
        manager: &Manager,
        on: bool,
        to: Option<String>,
    ) -> anyhow::Result<()> {
        let worker = self.reach(manager).await?;
        let left = worker.rpc.worker_drain(on, to).await;
        let left = left.map_err(|e| worker.failed(e))?;
        if self.json {
            return show::json(&left);
        }
        let name = &self.name;
        match (on, left.is_empty()) {
            (false, _) => show::say(format!("{name} begins sectors again")),
            (true, true) => show::say(format!("{name} has no sector in work, and begins none")),
            (true, false) => {
                show::say(format!("{name} begins no sector; in work still:"));
                left.iter().map(in_work).for_each(show::say);
            }
        }
        Ok(())
    }
}

fn in_work(thread: &ThreadInfo) -> String {
    let sector = thread.job_id.as_deref().unwrap_or("no sector");
    let fate = thread.draining.as_ref().map_or("", |d| d.fate.as_str());
    format!(
        "  #{} {sector} in {} {fate}",
        thread.index, thread.job_state
    )
}
