//! `util sealer actor …`: who may act for a miner, its money, and orders to its actor.

use super::{client::Manager, sectors::actor, show};
use crate::{config, model::MessageId};
use clap::{Args, Subcommand};
use damocles_api::actor::{ActorOrder, ActorOrderView, AddressesView, DamoclesActorClient};
use damocles_daemon::{
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::{ActorId, Epoch};
use jsonrpsee::core::ClientError;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager util sealer actor --miner 1000 control list
  damocles-manager util sealer actor --miner 1000 withdraw '12.5 FIL'
  damocles-manager util sealer actor --miner 1000 control set t0101 t0102 --really-do-it
An order becomes a message like all others: `util message show` tells what becomes of it. It is
signed by the manager's own key store or the node's wallet, and may cost what a proof may
(GasFeeCap and its like in [Miners.Commitment.Prove]).")]
pub(super) struct ActorArgs {
    /// The miner, 1000 or t01000
    #[arg(long, value_parser = actor)]
    miner: ActorId,
    #[command(subcommand)]
    command: Actor,
    /// Id of the order's message (a UUID), to give an order again whose answer was lost [default: a new one]
    #[arg(long = "exid", global = true, value_name = "ID")]
    id: Option<String>,
    /// As JSON
    #[arg(long, global = true)]
    json: bool,
}

/// With the big lever.
#[derive(Args, Debug)]
struct Really {
    /// Do it; without this only what would follow is told
    #[arg(long)]
    really_do_it: bool,
}

#[derive(Debug, Subcommand)]
enum Actor {
    /// What the miner has, and what of it may be spent
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 balance")]
    Balance,
    /// Give the miner money
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 add-balance t0100 '5 FIL'")]
    AddBalance {
        /// Whose money; the manager's key store or the node's wallet needs its key
        from: String,
        /// As 5FIL or '30 nanoFIL'
        #[arg(value_parser = config::attofil)]
        amount: String,
    },
    /// Have what the miner may spend paid out to its beneficiary
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 withdraw '12.5 FIL'")]
    Withdraw {
        /// As 5FIL [default: all of it]
        #[arg(value_parser = config::attofil)]
        amount: Option<String>,
        /// The beneficiary orders it, and not the owner
        #[arg(long)]
        beneficiary: bool,
    },
    /// Pay the fees that the miner owes
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 repay-debt --from t0101")]
    RepayDebt {
        /// As 5FIL [default: all of it]
        #[arg(value_parser = config::attofil)]
        amount: Option<String>,
        /// Who pays [default: the owner]
        #[arg(long)]
        from: Option<String>,
    },
    /// Hand the miner over to another owner: the one of now names it, then it confirms
    #[command(after_help = "\
Examples, one after the other:
  damocles-manager util sealer actor --miner 1000 set-owner t0200 t0100 --really-do-it
  damocles-manager util sealer actor --miner 1000 set-owner t0200 t0200 --really-do-it")]
    SetOwner {
        /// The new owner
        new: String,
        /// Who sends this: first the owner of now, then the new one
        sender: String,
        #[command(flatten)]
        really: Really,
    },
    /// The addresses that may act for the miner beside its owner
    #[command(subcommand)]
    Control(Control),
    /// Name another worker
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 propose-change-worker t3… --really-do-it")]
    ProposeChangeWorker {
        /// The next worker; an account with a BLS key (t3…)
        worker: String,
        #[command(flatten)]
        really: Really,
    },
    /// Confirm the worker that was named, when its time has come
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 confirm-change-worker t0103 --really-do-it")]
    ConfirmChangeWorker {
        /// The worker that was named, for comparison
        worker: String,
        #[command(flatten)]
        really: Really,
    },
    /// Mark sector numbers as used for ever, so that the chain keeps them in fewer bytes
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 compact-allocated --mask-upto-n 5000 --really-do-it")]
    CompactAllocated {
        /// All numbers below this one
        #[arg(long, value_name = "N", conflicts_with = "mask_last_offset")]
        mask_upto_n: Option<u64>,
        /// All numbers up to the last that is used, but for so many
        #[arg(long, value_name = "N", required_unless_present = "mask_upto_n")]
        mask_last_offset: Option<u64>,
        #[command(flatten)]
        really: Really,
    },
    /// Name who gets what is withdrawn
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 propose-change-beneficiary t0104 '100 FIL' 4500000 --really-do-it")]
    ProposeChangeBeneficiary {
        /// Who gets it; the owner: as it was at first
        beneficiary: String,
        /// At most so much of it
        #[arg(value_parser = config::attofil)]
        quota: String,
        /// Until this epoch
        expiration: Epoch,
        /// Also if another one is named and not confirmed
        #[arg(long)]
        overwrite_pending_change: bool,
        #[command(flatten)]
        really: Really,
    },
    /// Confirm the beneficiary that was named
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 confirm-change-beneficiary --new-beneficiary --really-do-it")]
    ConfirmChangeBeneficiary {
        /// By the one of now
        #[arg(long, conflicts_with = "new_beneficiary")]
        existing_beneficiary: bool,
        /// By the new one
        #[arg(long, required_unless_present = "existing_beneficiary")]
        new_beneficiary: bool,
        #[command(flatten)]
        really: Really,
    },
}

#[derive(Debug, Subcommand)]
enum Control {
    /// Owner, worker, control addresses and beneficiary: keys, money, and who sends what
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 control list --json")]
    List,
    /// Set the control addresses; none but these remain
    #[command(after_help = "\
Example:
  damocles-manager util sealer actor --miner 1000 control set t0101 t0102 --really-do-it")]
    Set {
        /// The addresses; without any, there are none afterwards
        addresses: Vec<String>,
        #[command(flatten)]
        really: Really,
    },
}

pub(super) async fn run(manager: &Manager, args: ActorArgs) -> anyhow::Result<()> {
    let ActorArgs {
        miner,
        command,
        id,
        json,
    } = args;
    let (order, really) = match command {
        Actor::Balance => return balance(manager, miner, json).await,
        Actor::Control(Control::List) => return list(manager, miner, json).await,
        Actor::AddBalance { from, amount } => (ActorOrder::AddBalance { from, amount }, true),
        Actor::Withdraw {
            amount,
            beneficiary,
        } => {
            let order = ActorOrder::Withdraw {
                amount,
                by_beneficiary: beneficiary,
            };
            (order, true)
        }
        Actor::RepayDebt { amount, from } => (ActorOrder::RepayDebt { amount, from }, true),
        Actor::SetOwner {
            new,
            sender: from,
            really,
        } => (ActorOrder::SetOwner { new, from }, really.really_do_it),
        Actor::Control(Control::Set { addresses, really }) => {
            (ActorOrder::SetControl { addresses }, really.really_do_it)
        }
        Actor::ProposeChangeWorker { worker, really } => {
            (ActorOrder::ProposeWorker { worker }, really.really_do_it)
        }
        Actor::ConfirmChangeWorker { worker, really } => {
            (ActorOrder::ConfirmWorker { worker }, really.really_do_it)
        }
        Actor::CompactAllocated {
            mask_upto_n,
            mask_last_offset,
            really,
        } => {
            let order = ActorOrder::CompactNumbers {
                below: mask_upto_n,
                but_last: mask_last_offset,
            };
            (order, really.really_do_it)
        }
        Actor::ProposeChangeBeneficiary {
            beneficiary,
            quota,
            expiration,
            overwrite_pending_change: overwrite,
            really,
        } => {
            let order = ActorOrder::ProposeBeneficiary {
                beneficiary,
                quota,
                expiration,
                overwrite,
            };
            (order, really.really_do_it)
        }
        Actor::ConfirmChangeBeneficiary {
            new_beneficiary: by_new,
            really,
            ..
        } => (
            ActorOrder::ConfirmBeneficiary { by_new },
            really.really_do_it,
        ),
    };
    let id = id.unwrap_or_else(|| MessageId::new().to_string());
    let ordered = manager
        .rpc
        .order_actor(miner, order, really, Some(id.clone()));
    match ordered.await {
        Ok(view) => tell(&view, json),
        // it may be on its way all the same
        Err(error @ (ClientError::RequestTimeout | ClientError::Transport(_))) if really => {
            let told = format!(
                "whether it was ordered is not known: see `damocles-manager util message show {id}`, or give the order again with --exid {id}"
            );
            Err(manager.failed(error).hint(told).into())
        }
        Err(error) => Err(manager.failed(error).into()),
    }
}

fn tell(view: &ActorOrderView, json: bool) -> anyhow::Result<()> {
    if json {
        show::json(view)?;
    } else {
        show::lines([
            ("miner", format!("t0{}", view.miner)),
            ("order", view.what.clone()),
            ("from", view.from.clone()),
            ("value", format!("{} FIL", view.value)),
            ("tried", view.tried.clone()),
            ("message", show::or_dash(view.message.as_deref())),
        ]);
        if let Some(then) = &view.then {
            show::say(format!("then {then}"));
        }
    }
    match &view.message {
        Some(message) if !json => {
            show::say(format!(
                "see `damocles-manager util message wait {message}`"
            ));
            Ok(())
        }
        Some(_) => Ok(()),
        None => Err(Fatal::new(Exit::Refused, "nothing was done")
            .hint("add --really-do-it to do it")
            .into()),
    }
}

async fn asked(manager: &Manager, miner: ActorId) -> anyhow::Result<AddressesView> {
    let view = manager.rpc.miner_addresses(miner).await;
    Ok(view.map_err(|e| manager.failed(e))?)
}

async fn balance(manager: &Manager, miner: ActorId, json: bool) -> anyhow::Result<()> {
    let view = asked(manager, miner).await?;
    if json {
        return show::json(&serde_json::json!({
            "Miner": view.miner, "Epoch": view.epoch,
            "Balance": view.balance, "Available": view.available,
        }));
    }
    show::lines([
        ("miner", format!("t0{} at epoch {}", view.miner, view.epoch)),
        ("balance", format!("{} FIL", view.balance)),
        ("available", format!("{} FIL", view.available)),
    ]);
    Ok(())
}

async fn list(manager: &Manager, miner: ActorId, json: bool) -> anyhow::Result<()> {
    let view = asked(manager, miner).await?;
    if json {
        return show::json(&view);
    }
    let mut table = Table::new(
        &["role", "address", "key", "signed by", "balance", "sends"],
        &["key"],
    );
    for a in &view.addresses {
        table.add_row([
            a.role.clone(),
            a.address.clone(),
            show::or_dash(a.key.as_deref()),
            a.signer.clone(),
            show::or_dash(a.balance.as_ref().map(|fil| format!("{fil} FIL"))),
            match a.sends.is_empty() {
                true => "-".to_owned(),
                false => a.sends.join(", "),
            },
        ]);
    }
    show::print(&table);
    for change in &view.pending {
        show::say(change);
    }
    Ok(())
}
