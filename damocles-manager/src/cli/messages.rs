//! `util message …`: what this manager puts on chain, and what a person may do about it.

use super::{client::Manager, sectors::actor, show};
use crate::config;
use clap::Subcommand;
use damocles_api::{
    damocles::MessageView,
    lists::{DamoclesListsClient, MessageFilter},
    messages::{DamoclesMessagesClient, MessageDetail},
};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::ActorId;
use std::time::Duration;

/// Between two looks at a message that is waited for.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Message {
    /// Messages, newest first: those on their way, or all
    #[command(after_help = "\
Examples:
  damocles-manager util message list
  damocles-manager util message list --all --kind WindowPost --limit 20 --json")]
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
        /// Only of this miner, 1000 or t01000
        #[arg(long, value_parser = actor)]
        miner: Option<ActorId>,
        /// Only PreCommit, ProveCommit, WindowPost, DeclareRecoveries, CompactPartitions or ActorOrder
        #[arg(long)]
        kind: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything that there is of a message: attempts, gas, fees, what happens next
    #[command(after_help = "\
Example:
  damocles-manager util message show 0199f0c2-7b7e-7cc1-9f43-0d9f0a1b2c3d")]
    Show {
        /// Its id, or the CID of one that is on its way or ended lately
        message: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Wait until a message has landed (exit code 0) or is given up
    #[command(after_help = "\
Example:
  damocles-manager util message wait 0199f0c2-7b7e-7cc1-9f43-0d9f0a1b2c3d --timeout 30m")]
    Wait {
        /// Its id or CID
        message: String,
        /// How long at most, as 90s, 30m or 2h
        #[arg(long, default_value = "1h", value_parser = config::duration)]
        timeout: Duration,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try a message again now whose last attempt failed
    #[command(after_help = "\
Example:
  damocles-manager util message retry 0199f0c2-7b7e-7cc1-9f43-0d9f0a1b2c3d")]
    Retry {
        /// Its id or CID
        message: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a message dearer now that no block takes, under the same nonce
    #[command(after_help = "\
Example:
  damocles-manager util message replace 0199f0c2-7b7e-7cc1-9f43-0d9f0a1b2c3d --max-fee '0.8 FIL'")]
    Replace {
        /// Its id or CID
        message: String,
        /// What it may cost in all [default: as configured, GasFeeCap and MaxFee]
        #[arg(long, value_name = "AMOUNT")]
        max_fee: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a message back; one that left gives its nonce to a message of nothing, if no block has
    /// it by then. Whoever wanted it may want another one
    #[command(after_help = "\
Example:
  damocles-manager util message withdraw 0199f0c2-7b7e-7cc1-9f43-0d9f0a1b2c3d --reason 'wrong sender' --really-do-it")]
    Withdraw {
        /// Its id or CID
        message: String,
        /// Why, for whoever looks at it later
        #[arg(long)]
        reason: String,
        /// Do it; without this only what would follow is told
        #[arg(long)]
        really_do_it: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Message) -> anyhow::Result<()> {
    let rpc = &manager.rpc;
    match command {
        Message::List {
            all,
            miner,
            kind,
            limit,
            json,
        } => {
            let open = !all;
            let filter = MessageFilter { miner, open, kind };
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let pages = async |want| rpc.messages(filter.clone(), want).await;
            let found = manager.pages(most, pages).await?;
            if json {
                return show::json(&found);
            }
            print_list(&found, all);
            Ok(())
        }
        Message::Show { message, json } => {
            let found = rpc.message(message).await.map_err(|e| manager.failed(e))?;
            tell(&found, json)
        }
        Message::Wait {
            message,
            timeout,
            json,
        } => wait(manager, message, timeout, json).await,
        Message::Retry { message, json } => {
            let found = rpc.retry_message(message).await;
            tell(&found.map_err(|e| manager.failed(e))?, json)
        }
        Message::Replace {
            message,
            max_fee,
            json,
        } => {
            let most = max_fee.as_deref().map(config::attofil).transpose();
            let most = most.map_err(|e| Fatal::new(Exit::Usage, e))?;
            let found = rpc.replace_message(message, most).await;
            tell(&found.map_err(|e| manager.failed(e))?, json)
        }
        Message::Withdraw {
            message,
            reason,
            really_do_it,
            json,
        } => {
            if !really_do_it {
                let found = rpc.message(message).await.map_err(|e| manager.failed(e))?;
                return Err(would_withdraw(&found).into());
            }
            let found = rpc.withdraw_message(message, reason).await;
            tell(&found.map_err(|e| manager.failed(e))?, json)
        }
    }
}

fn print_list(found: &[MessageView], all: bool) {
    if found.is_empty() {
        match all {
            true => println!("no messages yet"),
            false => println!("no messages on their way (--all shows those that are over)"),
        }
        return;
    }
    let mut table = Table::new(
        &[
            "id", "kind", "miner", "state", "age", "nonce", "epoch", "exit", "sectors", "paid",
            "problem",
        ],
        &["problem"],
    );
    let now = SystemClock.now_seconds();
    for m in found {
        table.add_row([
            m.id.clone(),
            m.kind.clone(),
            m.miner.to_string(),
            m.state.clone(),
            show::ago(now, m.wanted_at),
            show::or_dash(m.nonce),
            show::or_dash(m.epoch),
            show::or_dash(m.exit_code),
            m.sectors.len().to_string(),
            show::or_dash(m.paid.as_ref().map(|fee| format!("{fee} FIL"))),
            show::or_dash(m.last_error.as_ref()),
        ]);
    }
    show::print(&table);
}

fn tell(found: &MessageDetail, json: bool) -> anyhow::Result<()> {
    if json {
        return show::json(found);
    }
    show::lines(lines(found, SystemClock.now_seconds()));
    Ok(())
}

/// What is said of a message. Pure.
fn lines(d: &MessageDetail, now: i64) -> Vec<(&'static str, String)> {
    let m = &d.message;
    let mut lines = vec![
        ("id", m.id.clone()),
        ("kind", format!("{} (method {})", m.kind, d.method)),
        ("state", m.state.clone()),
        ("wanted", format!("{} ago", show::ago(now, m.wanted_at))),
        ("from", d.from.clone()),
        ("to", d.to.clone()),
        ("value", format!("{} FIL", d.value)),
    ];
    if !m.sectors.is_empty() {
        let names: Vec<String> = m.sectors.iter().map(ToString::to_string).collect();
        lines.push(("sectors", names.join(" ")));
    }
    if let Some(note) = &d.note {
        lines.push(("note", note.clone()));
    }
    if let Some(gas) = &d.gas {
        lines.push(("gas limit", gas.limit.to_string()));
        lines.push((
            "price",
            format!(
                "cap {} FIL, premium {} FIL per unit of gas; {} FIL at most",
                gas.fee_cap, gas.premium, gas.at_most
            ),
        ));
    }
    if let Some(paid) = &m.paid {
        let used = d.gas.as_ref().and_then(|gas| gas.used);
        let used = used.map_or_else(String::new, |n| format!(" for {n} units of gas"));
        lines.push(("paid", format!("{paid} FIL{used}")));
    }
    for attempt in &d.attempts {
        let until = attempt.until;
        let until = until.map_or_else(String::new, |at| format!(", until epoch {at}"));
        let (cid, nonce) = (&attempt.cid.cid, attempt.nonce);
        lines.push(("attempt", format!("{cid} nonce {nonce}{until}")));
    }
    if let Some(epoch) = m.epoch {
        let code = m.exit_code;
        let code = code.map_or_else(String::new, |code| format!(", exit code {code}"));
        lines.push(("on chain", format!("epoch {epoch}{code}")));
    }
    if let Some(deadline) = d.deadline {
        lines.push(("pointless at", format!("epoch {deadline}")));
    }
    if let Some(order) = &d.ordered {
        lines.push(("ordered", order.clone()));
    }
    if let Some(why) = &d.withdrawn {
        lines.push(("withdrawn", why.clone()));
    }
    if let Some(problem) = m.last_error.as_ref().filter(|e| !e.is_empty()) {
        let since = d.failing_since;
        let since = since.map_or_else(String::new, |at| format!(" (for {})", show::ago(now, at)));
        lines.push(("problem", format!("{problem}{since}")));
    }
    lines.push(("next", d.next.clone()));
    lines
}

fn would_withdraw(found: &MessageDetail) -> Fatal {
    let m = &found.message;
    let what = match (found.over, m.nonce) {
        (true, _) => format!("message {} is over ({})", m.id, m.state),
        (false, None) => format!("message {} has not left; it would never be sent", m.id),
        (false, Some(nonce)) => format!(
            "message {} has left; a message of nothing would take its nonce {nonce}, if no block has it by then",
            m.id
        ),
    };
    let what = format!(
        "{what}. It carries {} sectors: their workers would hear that it was refused, and may submit again. Nothing was done",
        m.sectors.len()
    );
    Fatal::new(Exit::Refused, what).hint("give --really-do-it to do it")
}

async fn wait(
    manager: &Manager,
    message: String,
    timeout: Duration,
    json: bool,
) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let mut said = String::new();
    loop {
        let found = manager.rpc.message(message.clone()).await;
        let found = found.map_err(|e| manager.failed(e))?;
        let state = &found.message.state;
        let landed = state == "Landed" || state == "Final";
        if landed {
            return tell(&found, json);
        }
        if found.over || state == "Failed" {
            tell(&found, json)?;
            let what = format!("message {} ended as {state}", found.message.id);
            return Err(Fatal::new(Exit::Refused, what).into());
        }
        if started.elapsed() > timeout {
            tell(&found, json)?;
            let what = format!("message {} is still {state}", found.message.id);
            return Err(Fatal::new(Exit::Unreachable, what)
                .hint("wait longer with --timeout, or see what `util message show` says")
                .into());
        }
        let line = format!("{state}: {}", found.next);
        if line != said {
            eprintln!("{line}");
            said = line;
        }
        tokio::time::sleep(LOOK).await;
    }
}
