//! `util worker wdpost …`: WindowPoSts that workers prove.

use super::{client::Manager, show};
use clap::{Args, Subcommand};
use damocles_api::wdpost::{AllWdPoStJobs, WdPoStClient, WdPoStJob};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use jsonrpsee::core::ClientError;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum WdPost {
    /// Jobs that are wanted, and those that failed; the newest first
    #[command(after_help = "\
Examples:
  damocles-manager util worker wdpost list
  damocles-manager util worker wdpost list --all --json | jq '.Jobs[] | select(.Faults > 0)'")]
    List {
        /// Also those that were proven
        #[arg(long)]
        all: bool,
        /// With all times
        #[arg(long)]
        detail: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have jobs done anew by any worker, whatever came of them
    #[command(after_help = "\
Example:
  damocles-manager util worker wdpost reset 0a1b2c3d4e5f60718293a4b5c6d7e8f9")]
    Reset(Ids),
    /// Forget jobs; one that a WindowPoSt waits for is made again
    #[command(after_help = "\
Example:
  damocles-manager util worker wdpost remove 0a1b2c3d4e5f60718293a4b5c6d7e8f9")]
    Remove(Ids),
    /// Forget all jobs; those that WindowPoSts wait for are made again
    #[command(after_help = "\
Example:
  damocles-manager util worker wdpost remove-all --really-do-it")]
    RemoveAll {
        /// Yes
        #[arg(long)]
        really_do_it: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct Ids {
    /// Their ids, as the list has them
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(manager: &Manager, command: WdPost) -> anyhow::Result<()> {
    match command {
        WdPost::List { all, detail, json } => list(manager, all, detail, json).await,
        WdPost::Reset(Ids { ids, json }) => {
            for id in &ids {
                let reset = manager.rpc.wd_post_reset_job(id.clone()).await;
                reset.map_err(|e| hinted(failed(manager, e)))?;
            }
            done("Reset", "is done anew", &ids, json)
        }
        WdPost::Remove(Ids { ids, json }) => remove(manager, &ids, json).await,
        WdPost::RemoveAll { really_do_it, json } => {
            if !really_do_it {
                return Err(Fatal::new(Exit::Usage, "this forgets every WindowPoSt job")
                    .hint("say --really-do-it if that is meant")
                    .into());
            }
            let jobs = all_jobs(manager).await?.jobs;
            let ids: Vec<_> = jobs.into_iter().map(|job| job.id).collect();
            remove(manager, &ids, json).await
        }
    }
}

fn hinted(fatal: Fatal) -> Fatal {
    match fatal.hint {
        Some(_) => fatal,
        None => fatal.hint("`damocles-manager util worker wdpost list --all` shows the jobs that there are; one that is over cannot be reset"),
    }
}

async fn all_jobs(manager: &Manager) -> Result<AllWdPoStJobs, Fatal> {
    let all = manager.rpc.wd_post_all_jobs().await;
    all.map_err(|e| failed(manager, e))
}

/// What a failed call means; most often that workers prove nothing there.
fn failed(manager: &Manager, error: ClientError) -> Fatal {
    let fatal = manager.failed(error);
    if !fatal.message.contains("--worker-prover") {
        return fatal;
    }
    Fatal::new(Exit::Refused, "this manager lets no worker prove")
        .hint("start it with --worker-prover, or ask one that runs so: --api ADDRESS")
}

async fn remove(manager: &Manager, ids: &[String], json: bool) -> anyhow::Result<()> {
    for id in ids {
        let removed = manager.rpc.wd_post_remove_job(id.clone()).await;
        removed.map_err(|e| failed(manager, e))?;
    }
    done("Removed", "is forgotten", ids, json)
}

fn done(key: &str, words: &str, ids: &[String], json: bool) -> anyhow::Result<()> {
    if json {
        return show::json(&json!({ key: ids }));
    }
    for id in ids {
        show::say(format!("job {id} {words}"));
    }
    Ok(())
}

/// As upstream shows a state.
fn state(job: &WdPoStJob) -> String {
    match job.state.as_str() {
        "ready2run" => "ReadyToRun".to_owned(),
        "running" => "Running".to_owned(),
        "finished" if !job.error_reason.is_empty() => "Failed".to_owned(),
        "finished" if job.faults > 0 => format!("Faults({})", job.faults),
        "finished" => "Succeed".to_owned(),
        other => other.to_owned(),
    }
}

fn is_proven(job: &WdPoStJob) -> bool {
    job.state == "finished" && job.error_reason.is_empty()
}

/// How long ago that second was; — where there is none.
fn ago(now: i64, at: u64) -> String {
    let at = i64::try_from(at).ok().filter(|at| *at > 0);
    show::or_dash(at.map(|at| format!("{} ago", show::ago(now, at))))
}

/// How long its last attempt runs or ran.
fn ran(now: i64, job: &WdPoStJob) -> Option<String> {
    let at = |second: u64| i64::try_from(second).ok().filter(|at| *at > 0);
    let started = at(job.started_at)?;
    let ended = at(job.finished_at).unwrap_or(now);
    Some(show::ago(ended, started))
}

async fn list(manager: &Manager, all: bool, detail: bool, json: bool) -> anyhow::Result<()> {
    let mut found = all_jobs(manager).await?;
    found.jobs.retain(|job| all || !is_proven(job));
    if json {
        return show::json(&found);
    }
    if found.jobs.is_empty() {
        println!("no WindowPoSt waits for a worker");
        return Ok(());
    }
    let mut heads = vec![
        "job",
        "miner",
        "deadline",
        "partitions",
        "sectors",
        "worker",
        "state",
        "try",
        "ran",
        "heartbeat",
    ];
    let times = ["created", "started", "finished", "updated", "closes at"];
    if detail {
        heads.extend(times);
    }
    heads.push("problem");
    let mut table = Table::new(&heads, &["worker", "problem"]);
    let now = SystemClock.now_seconds();
    for job in &found.jobs {
        let runs = job.state == "running";
        let partitions: Vec<_> = job.partitions.iter().map(u64::to_string).collect();
        let mut row = vec![
            job.id.clone(),
            format!("t0{}", job.input.miner_id),
            job.deadline_idx.to_string(),
            partitions.join(","),
            job.sectors.to_string(),
            show::or_dash(Some(&job.worker_name).filter(|name| !name.is_empty())),
            state(job),
            job.try_num.to_string(),
            show::or_dash(ran(now, job)),
            ago(now, if runs { job.heartbeat_at } else { 0 }),
        ];
        if detail {
            let at = [
                job.created_at,
                job.started_at,
                job.finished_at,
                job.updated_at,
            ];
            row.extend(at.map(|at| ago(now, at)));
            row.push(format!("epoch {}", job.close));
        }
        row.push(job.error_reason.clone());
        table.add_row(row);
    }
    show::print(&table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::wdpost::WdPoStInput;

    #[test]
    fn states_are_shown_as_upstream_shows_them() {
        let job = |state: &str, error: &str, faults| WdPoStJob {
            id: "x".into(),
            state: state.into(),
            deadline_idx: 1,
            partitions: vec![0],
            input: WdPoStInput {
                sectors: vec![],
                miner_id: 1000,
                proof_type: String::new(),
                seed: [0; 32],
            },
            output: None,
            try_num: 1,
            error_reason: error.into(),
            worker_name: "w".into(),
            started_at: 10,
            heartbeat_at: 0,
            finished_at: 0,
            created_at: 1,
            updated_at: 1,
            sectors: 2,
            faults,
            open: 60,
            close: 120,
        };
        for (of, shown, proven) in [
            (job("ready2run", "", 0), "ReadyToRun", false),
            (job("running", "its worker was silent", 0), "Running", false),
            (job("finished", "", 0), "Succeed", true),
            (job("finished", "", 3), "Faults(3)", true),
            (job("finished", "no parameters", 0), "Failed", false),
        ] {
            assert_eq!((state(&of).as_str(), is_proven(&of)), (shown, proven));
        }
        assert_eq!(ran(75, &job("running", "", 0)).as_deref(), Some("1m05s"));
        assert_eq!(ago(75, 0), "—");
    }
}
