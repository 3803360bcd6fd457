//! The command line: what can be typed, and the commands that ask a running daemon.
//! They speak RPC only and never open the database; what is done with that as a whole is
//! `upkeep`'s affair, and running a daemon `daemon`'s.

mod auth;
mod blocks;
mod client;
mod config;
mod db;
mod deals;
mod ending;
mod info;
mod init;
mod messages;
mod posts;
mod profiles;
mod proving;
mod actors;
mod roles;
mod sectors;
mod show;
mod storage;
mod wallet;
mod wallet_password;
mod wdpost;
mod worker_orders;
mod workers;

use crate::roles::Role;
use clap::{Args, CommandFactory, Parser, Subcommand};
use client::Reach;
pub use config::ConfigArgs;
use damocles_daemon::{
    build,
    exit::{Exit, Fatal},
    log::LogArgs,
    net::Listen,
    pages, shell,
};
use damocles_processor::KernelChoice;
pub use db::DbArgs;
use jsonrpsee::http_client::HttpClient;
use std::{path::PathBuf, time::Duration};

const ROOT_EXAMPLES: &str = "\
First steps:
  damocles-manager daemon init                   write a commented sector-manager.cfg
  damocles-manager daemon run --config-check     check it; nothing is started
  damocles-manager daemon run --poster           serve workers, prove sectors
  damocles-manager util sealer sectors list      what is being sealed

";

/// Holds the sector-state database, talks to the Filecoin node, answers the workers, proves sectors.
#[derive(Debug, Parser)]
#[command(name = "damocles-manager", version = build::VERSION, after_help = format!("{ROOT_EXAMPLES}{}", Exit::table()))]
pub struct Cli {
    /// The manager's home [default: DAMOCLES_PATH, or ~/.damocles-manager]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up or run the daemon
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Ask a running manager
    Util(Util),
    /// Look at the configuration file, and compare it with a running manager's
    Config(ConfigArgs),
    /// Back up, check and move the database
    Db(DbArgs),
    /// Print what a shell reads to complete the command line
    #[command(after_help = "\
Example:
  damocles-manager completions bash > /etc/bash_completion.d/damocles-manager")]
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of all commands
    #[command(after_help = "\
Example:
  damocles-manager man /usr/local/share/man/man1 && man damocles-manager-util-info")]
    Man(shell::ManArgs),
    /// Print the version
    Version,
    /// Compute one stage for a parent process, by lines on stdin and stdout
    #[command(hide = true)]
    Processor {
        /// The stage, e.g. window_post
        stage: String,
        /// What computes: auto or filecoin-proofs
        #[arg(long, default_value_t, value_name = "CHOICE")]
        kernel: KernelChoice,
    },
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Write a commented sector-manager.cfg into the home; an existing one is left alone
    Init,
    /// Run the daemon
    #[command(after_help = "\
Examples:
  damocles-manager daemon run --poster
  damocles-manager daemon run --poster --miner            make blocks, too
  damocles-manager daemon run --poster --worker-prover    workers prove, see [Common.Proving.WorkerProver]
  damocles-manager daemon run --poster --proxy 10.0.0.1:1789 --roles post,messages,stores    only proves
  damocles-manager daemon run --listen 127.0.0.1:0        any free port; <home>/api tells which
  damocles-manager --home /srv/m1 daemon run --config-check")]
    Run(RunArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where to listen for RPC: host:port, :port (every interface) or a multiaddr
    #[arg(long, default_value = ":1789", value_name = "ADDRESS")]
    pub listen: Listen,
    /// Directory of sector-manager.cfg [default: DAMOCLES_CONF_DIR, or the home]
    #[arg(long, value_name = "DIR")]
    pub conf_dir: Option<PathBuf>,
    /// Prove the miners' sectors (WindowPoSt)
    #[arg(long)]
    pub poster: bool,
    /// Make the blocks that the miners win (WinningPoSt)
    #[arg(long)]
    pub miner: bool,
    /// Let workers prove (threads of `plan = "wdpost"`), and prove here what none of them does in time
    #[arg(long)]
    pub worker_prover: bool,
    /// Prove with the programs of `ext-prover.cfg` beside the configuration file
    #[arg(long)]
    pub ext_prover: bool,
    /// Ask another manager where sectors lie, as a host does that only proves; its address as for
    /// `util --api`. Stores are this manager's own configuration
    #[arg(long, value_name = "ADDRESS")]
    pub proxy: Option<String>,
    /// A token for that manager that may read
    #[arg(long, env = "DAMOCLES_MANAGER_TOKEN", hide_env_values = true)]
    pub proxy_token: Option<String>,
    /// What this manager does; of several that share a database each role is one's at a time, and
    /// the others stand by. `post` also needs --poster, `winning` --miner
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = Role::ALL,
        value_name = "ROLES",
        hide_default_value = true
    )]
    pub roles: Vec<Role>,
    /// Check the configuration, print what would hold, and start nothing
    #[arg(long)]
    pub config_check: bool,
}

/// Ask a running manager.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager util sealer sectors list
  damocles-manager util sealer sectors state 1000 7        state, messages and timeline of a sector
  damocles-manager util worker list --json | jq '.[].Info.Name'
  damocles-manager util --api 10.0.0.5:1789 --token $TOKEN storage list")]
pub struct Util {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: UtilCommand,
}

#[derive(Debug, Subcommand)]
enum UtilCommand {
    /// A miner on one screen: power, deadlines, funds, what is in work, what needs a person
    Info(info::Info),
    /// Sectors and their proofs
    #[command(subcommand)]
    Sealer(Sealer),
    /// Workers that this manager heard of
    #[command(subcommand)]
    Worker(workers::Worker),
    /// Persist stores
    #[command(subcommand)]
    Storage(storage::Storage),
    /// Clients' data that is to be sealed: the manager's own queue
    #[command(subcommand)]
    Deals(deals::Deals),
    /// Messages to the chain: what became of them, and what to do about one
    #[command(subcommand)]
    Message(messages::Message),
    /// Profiles: files that workers of one kind lay their own over
    #[command(subcommand)]
    Profile(profiles::Profile),
    /// What each of the managers on one database does
    Roles(roles::RolesArgs),
    /// The manager's own keys, with which it signs messages itself
    Wallet(wallet::WalletArgs),
    /// Tokens for callers on other hosts, and who changed what
    #[command(subcommand)]
    Auth(auth::Auth),
}

#[derive(Debug, Subcommand)]
enum Sealer {
    /// Sectors
    #[command(subcommand)]
    Sectors(sectors::Sectors),
    /// How sectors are proven
    #[command(subcommand)]
    Proving(posts::Proving),
    /// A miner's actor: who may act for it, its money, and orders to it
    Actor(actors::ActorArgs),
}

/// A client for another manager, in whatever form its address was given.
///
/// # Errors
/// [`Exit::Usage`] for what is none.
pub fn another_manager(
    address: &str,
    token: Option<&str>,
    limit: Duration,
) -> Result<HttpClient, Fatal> {
    let url = client::url(address).ok_or_else(|| {
        Fatal::new(
            Exit::Usage,
            format!("{address:?} is not an address of a manager"),
        )
        .hint("write for example --proxy 10.0.0.1:1789")
    })?;
    client::client(&url, token, None, limit)
}

/// Where the home is.
///
/// # Errors
/// [`Exit::Usage`] when there is none to be found.
pub fn home(flag: Option<&std::path::Path>) -> Result<PathBuf, Fatal> {
    crate::config::home_dir(flag, &|name| std::env::var(name).ok()).ok_or_else(|| {
        Fatal::new(Exit::Usage, "no home: this user has no home directory")
            .hint("give one with --home")
    })
}

/// The reference page `docs/cli-manager.md`: what `--help` says, for every command.
pub fn reference_page() -> String {
    pages::commands(
        Cli::command(),
        "UPDATE_DOCS=1 cargo test -p damocles-manager --test config_docs",
    )
}

/// `daemon init`.
pub fn init(home: &std::path::Path) -> anyhow::Result<()> {
    init::run(home)
}

/// Runs a command on the configuration file.
pub async fn config(home: PathBuf, args: ConfigArgs) -> anyhow::Result<()> {
    config::run(home, args).await
}

/// Runs a command on the database as a whole.
pub async fn db(home: PathBuf, args: DbArgs) -> anyhow::Result<()> {
    db::run(home, args).await
}

/// Runs a command that asks the daemon.
pub async fn util(home: PathBuf, util: Util) -> anyhow::Result<()> {
    let Util { reach, command } = util;
    match command {
        UtilCommand::Auth(command) => auth::run(&home, command),
        UtilCommand::Sealer(Sealer::Sectors(command)) => {
            reach
                .ask(&home, async |m| sectors::run(m, command).await)
                .await
        }
        UtilCommand::Sealer(Sealer::Proving(command)) => {
            reach
                .ask_patiently(&home, async |m| posts::run(m, command).await)
                .await
        }
        UtilCommand::Sealer(Sealer::Actor(args)) => {
            reach.ask(&home, async |m| actors::run(m, args).await).await
        }
        UtilCommand::Wallet(args) => wallet::run(reach, &home, args).await,
        UtilCommand::Profile(command) => {
            reach
                .ask(&home, async |m| profiles::run(m, command).await)
                .await
        }
        UtilCommand::Roles(args) => reach.ask(&home, async |m| roles::run(m, args).await).await,
        UtilCommand::Info(args) => reach.ask(&home, async |m| info::run(m, args).await).await,
        UtilCommand::Deals(command) => {
            reach
                .ask_patiently(&home, async |m| deals::run(m, command).await)
                .await
        }
        UtilCommand::Message(command) => {
            reach
                .ask_patiently(&home, async |m| messages::run(m, command).await)
                .await
        }
        UtilCommand::Worker(command) => {
            reach
                .ask(&home, async |m| workers::run(m, command).await)
                .await
        }
        UtilCommand::Storage(command) => {
            reach
                .ask(&home, async |m| storage::run(m, command).await)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound_and_upstreams_forms_parse() {
        Cli::command().debug_assert();
        for line in [
            "damocles-manager daemon run --listen :1789 --poster",
            "damocles-manager --home /x daemon init",
            "damocles-manager util --listen 127.0.0.1:1789 sealer sectors list --offline",
            "damocles-manager util sealer sectors state t01000 7",
            "damocles-manager util sealer sectors state s-t01000-7 --json",
            "damocles-manager util worker info w1",
            "damocles-manager util sealer sectors abort 1000 7 --reason x --really-do-it --json",
            "damocles-manager util sealer sectors hand-over s-t01000-7",
            "damocles-manager util sealer sectors unknown --json",
            "damocles-manager util sealer sectors restore 1000 7",
            "damocles-manager util sealer sectors finalize s-t01000-7 --json",
            "damocles-manager util sealer sectors resend-pre 1000 7",
            "damocles-manager util sealer sectors resend-prove 1000 7 --json",
            "damocles-manager util sealer actor --miner t01000 balance --json",
            "damocles-manager util sealer actor --miner f01000 control list",
            "damocles-manager util sealer actor --miner 1000 control set t0101 t3x --really-do-it",
            "damocles-manager util sealer actor --miner 1000 control set --really-do-it",
            "damocles-manager util sealer actor --miner 1000 add-balance t0100 5FIL",
            "damocles-manager util sealer actor --miner 1000 withdraw",
            "damocles-manager util sealer actor --miner 1000 withdraw 0.5FIL --beneficiary --json",
            "damocles-manager util sealer actor --miner 1000 repay-debt --from t0101",
            "damocles-manager util sealer actor --miner 1000 set-owner t0102 t0100 --really-do-it",
            "damocles-manager util sealer actor --miner 1000 propose-change-worker t0103",
            "damocles-manager util sealer actor --miner 1000 confirm-change-worker t0103 --really-do-it",
            "damocles-manager util sealer actor --miner 1000 compact-allocated --mask-upto-n 500",
            "damocles-manager util sealer actor --miner 1000 compact-allocated --mask-last-offset 10",
            "damocles-manager util sealer actor --miner 1000 propose-change-beneficiary t0104 5FIL 90000 --overwrite-pending-change",
            "damocles-manager util sealer actor --miner 1000 confirm-change-beneficiary --new-beneficiary",
            "damocles-manager util message list --all --kind PreCommit --json",
            "damocles-manager util message show x",
            "damocles-manager util info t01000 --json",
            "damocles-manager util deals add --csv deals.csv --json",
            "damocles-manager util deals add --miner t01000 --allocation-id 7 --client f0101 --piece-cid x --size 2048 --piece /x",
            "damocles-manager util deals add --miner 1000 --deal-id 7 --piece-cid x --size 2048 --payload-size 5",
            "damocles-manager util deals list --state all --json",
            "damocles-manager util deals show allocation-7",
            "damocles-manager util deals cancel deal-7",
            "damocles-manager util message wait x --timeout 5m",
            "damocles-manager util message retry x",
            "damocles-manager util message replace x --max-fee 1FIL",
            "damocles-manager util message withdraw x --reason y --really-do-it",
            "damocles-manager util roles --json",
            "damocles-manager util profile list --json",
            "damocles-manager util profile show epyc",
            "damocles-manager util profile check",
            "damocles-manager util profile assign w1 epyc",
            "damocles-manager util profile assign w1 --none",
            "damocles-manager daemon run --roles rpc,post --poster",
            "damocles-manager util worker remove w1 --json",
            "damocles-manager util worker pause w1 0 --json",
            "damocles-manager util worker resume w1 0 TreeDBuilt --token-file t",
            "damocles-manager util worker drain 10.0.0.7:17890 --to ticket",
            "damocles-manager util worker undrain w1",
            "damocles-manager util worker wdpost list --all --detail --json",
            "damocles-manager util worker wdpost reset 0a1b 2c3d --json",
            "damocles-manager util worker wdpost remove 0a1b --json",
            "damocles-manager util worker wdpost remove-all --really-do-it",
            "damocles-manager daemon run --poster --worker-prover",
            "damocles-manager daemon run --poster --ext-prover",
            "damocles-manager daemon run --poster --proxy 10.0.0.1:1789 --proxy-token x",
            "damocles-manager util storage release-reserved 1000 7",
            "damocles-manager util storage accept hdd1",
            "damocles-manager util storage list --json",
            "damocles-manager util storage find 1000 7 --upgrade --json",
            "damocles-manager util storage gen-sectorstore-json /x --name hdd7 --weight 2 --allow-miners t01000",
            "damocles-manager util auth create-token --perm write",
            "damocles-manager util auth create-token --perm write --worker w1 --expires 90d --json",
            "damocles-manager util auth list --json",
            "damocles-manager util auth revoke 0a1b --json",
            "damocles-manager util auth audit --last 5 --json",
            "damocles-manager config check --json",
            "damocles-manager config show --conf-dir /c --json",
            "damocles-manager config diff --api 127.0.0.1:1789 --json",
            "damocles-manager util wallet new --type bls --name post --json",
            "damocles-manager util wallet import key.hex --as-default --password-file p",
            "damocles-manager util wallet export f1abc --really-do-it",
            "damocles-manager util wallet list --json --conf-dir /c",
            "damocles-manager util wallet default post",
            "damocles-manager util wallet delete f1abc --really-do-it",
            "damocles-manager db export --out x --json",
            "damocles-manager --home /x db import x --conf-dir /c --json",
            "damocles-manager db backup /x --api 127.0.0.1:1789 --json",
            "damocles-manager db restore /x --json",
            "damocles-manager db check --mend --no-stores --json",
            "damocles-manager completions zsh",
            "damocles-manager man /tmp/man1",
            "damocles-manager version",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
        assert!(
            Cli::try_parse_from([
                "damocles-manager",
                "util",
                "auth",
                "create-token",
                "--perm",
                "root"
            ])
            .is_err()
        );
    }
}
