//! The command line of `damocles-devnet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_daemon::log::LogArgs;
use damocles_daemon::net::Listen;
use damocles_node::method::Permission;
use damocles_types::SectorSize;

use crate::fatal::fatal;
use crate::network::BlockTime;
use crate::policy::NetworkPolicy;
use crate::randomness::blake2b256;

/// A Filecoin network in one process, for tests and demos.
///
/// It makes real blocks, keeps real miner-actor state and verifies real proofs, and answers
/// Filecoin.* JSON-RPC v1 as Lotus does, so that damocles-manager works on it unchanged.
/// Miner t01000 exists from genesis; the key of its owner and worker lies in the node's wallet.
#[derive(Debug, Parser)]
#[command(name = "damocles-devnet", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Run),
    /// Tokens for clients of a network
    #[command(subcommand)]
    Auth(AuthCommand),
    Methods(Methods),
    Bench(Bench),
}

/// Run a network until SIGINT or SIGTERM; the chain is saved then and continues at the next run
#[derive(Debug, Args)]
#[command(after_help = "\
When it serves, DIR/api holds its multiaddress and DIR/token an admin token, as with Lotus.

Try:
  damocles-devnet run --repo /tmp/net --block-time 100ms --proving-period-deadlines 4 --challenge-window 20
  damocles-devnet auth api-info --repo /tmp/net
  curl -H \"Authorization: Bearer $(cat /tmp/net/token)\" -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"Filecoin.ChainHead\",\"params\":[]}' http://127.0.0.1:PORT/rpc/v1")]
pub struct Run {
    /// Directory of the network: chain, wallet, tokens, presealed sectors; made when missing
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: Listen,
    /// Time between blocks, 5ms to 30s, or "manual" for blocks only by Devnet.Mine
    #[arg(long, default_value = "500ms", value_parser = block_time)]
    pub block_time: BlockTime,
    /// Where a second node of the network listens, with an empty wallet and a head of its own;
    /// its multiaddress is in DIR/second/api
    #[arg(long, value_name = "ADDR")]
    pub second: Option<Listen>,
    /// Where a gateway listens, which lacks half of the methods; its multiaddress is in
    /// DIR/gateway/api
    #[arg(long, value_name = "ADDR")]
    pub gateway: Option<Listen>,
    /// Take seal proofs that are padded with zeros to this length, for a new network (1920 is
    /// that of 32 and 64 GiB sectors)
    #[arg(long, value_name = "BYTES")]
    pub proof_bytes: Option<u64>,
    #[command(flatten)]
    pub genesis: Genesis,
}

/// What a new network is made with; without effect on one that exists.
#[derive(Debug, Args)]
#[command(next_help_heading = "For a new network (an existing one keeps what it was made with)")]
pub struct Genesis {
    /// Sector size of the miners of genesis: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB
    #[arg(long, default_value = "2KiB")]
    pub sector_size: SectorSize,
    /// Sectors of each miner with real sealed files that are active from genesis
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preseal: u64,
    /// Miners from t01000 on, all with the key of the first
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub miners: u64,
    /// 32 bytes that decide keys, tickets and beacon; the same seed gives the same network
    #[arg(long, value_name = "HEX", value_parser = seed)]
    pub seed: Option<[u8; 32]>,
    /// TOML file with any of the network's numbers; the rest is as on Lotus' 2k network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proving_period_deadlines", "challenge_window"])]
    pub policy: Option<PathBuf>,
    /// Deadlines of a proving period (the 2k network has 48)
    #[arg(long, value_name = "N", requires = "challenge_window")]
    pub proving_period_deadlines: Option<u64>,
    /// Epochs of one deadline (the 2k network has 60)
    #[arg(long, value_name = "EPOCHS", requires = "proving_period_deadlines")]
    pub challenge_window: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Print a new token
    CreateToken(Token),
    /// Print a new token and the address in the form that FULLNODE_API_INFO takes
    ApiInfo(Token),
}

#[derive(Debug, Args)]
pub struct Token {
    /// Directory of the network
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// What the token allows; each permission brings the ones before it
    #[arg(long, value_enum, default_value = "admin")]
    pub perm: Perm,
}

/// A permission on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Perm {
    /// look
    Read,
    /// and push signed messages, make keys
    Write,
    /// and sign with the node's keys
    Sign,
    /// and everything else
    Admin,
}

impl From<Perm> for Permission {
    fn from(perm: Perm) -> Self {
        match perm {
            Perm::Read => Self::Read,
            Perm::Write => Self::Write,
            Perm::Sign => Self::Sign,
            Perm::Admin => Self::Admin,
        }
    }
}

/// List the served RPC methods with permission, parameters and result
#[derive(Debug, Args)]
pub struct Methods {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Measure how fast blocks are made and state calls answered, on a network in a temporary directory
#[derive(Debug, Args)]
pub struct Bench {
    /// Presealed sectors of the network
    #[arg(long, default_value_t = 100)]
    pub preseal: u64,
    /// Blocks to make
    #[arg(long, default_value_t = 2000)]
    pub blocks: u64,
    /// Calls of each method over HTTP
    #[arg(long, default_value_t = 200)]
    pub calls: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn block_time(text: &str) -> Result<BlockTime, String> {
    if text == "manual" {
        return Ok(BlockTime::Manual);
    }
    let time = humantime::parse_duration(text)
        .map_err(|e| format!("{e}; write for example 500ms, 4s or manual"))?;
    if !(Duration::from_millis(5)..=Duration::from_secs(30)).contains(&time) {
        return Err("blocks are made every 5ms to 30s, or \"manual\"".into());
    }
    Ok(BlockTime::Every(time))
}

fn seed(text: &str) -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed)
        .map_err(|e| format!("{e}; a seed is 64 hexadecimal digits"))?;
    Ok(seed)
}

impl Genesis {
    /// The seed; without one given it is always the same.
    pub fn seed(&self) -> [u8; 32] {
        self.seed
            .unwrap_or_else(|| blake2b256(b"damocles-devnet default seed"))
    }

    /// The policy that the options ask for, checked.
    pub fn network_policy(&self) -> Result<NetworkPolicy, Fatal> {
        let policy = match (
            &self.policy,
            self.proving_period_deadlines,
            self.challenge_window,
        ) {
            (Some(path), _, _) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path).map_err(|e| {
                    Fatal::new(Exit::Config, format!("cannot read the policy {shown}: {e}"))
                })?;
                toml::from_str(&text).map_err(|e| {
                    let reason = e.to_string();
                    Fatal::new(
                        Exit::Config,
                        format!("the policy {shown} is wrong: {}", reason.trim_end()),
                    )
                })?
            }
            (None, Some(deadlines), Some(window)) => NetworkPolicy::with_periods(deadlines, window),
            _ => NetworkPolicy::default(),
        };
        policy.validate().map_err(|e| fatal(Exit::Config, e))?;
        Ok(policy)
    }
}

/// The same size in the chain's type.
pub fn chain_size(size: SectorSize) -> fvm_shared::sector::SectorSize {
    use fvm_shared::sector::SectorSize as Chain;
    match size {
        SectorSize::KiB2 => Chain::_2KiB,
        SectorSize::MiB8 => Chain::_8MiB,
        SectorSize::MiB512 => Chain::_512MiB,
        SectorSize::GiB32 => Chain::_32GiB,
        SectorSize::GiB64 => Chain::_64GiB,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(args: &[&str]) -> Result<Run, clap::Error> {
        let all = ["damocles-devnet", "run", "--repo", "/r"];
        let cli = Cli::try_parse_from(all.iter().chain(args))?;
        match cli.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn block_times() {
        let time = |text| run(&["--block-time", text]).map(|r| r.block_time);
        assert_eq!(time("manual").unwrap(), BlockTime::Manual);
        let ms = |n| BlockTime::Every(Duration::from_millis(n));
        assert_eq!(run(&[]).unwrap().block_time, ms(500));
        assert_eq!(time("5ms").unwrap(), ms(5));
        for bad in ["1ms", "31s", "0", "fast", "-1s"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn policies_come_from_one_place_and_are_checked() {
        let short = [
            "--proving-period-deadlines",
            "4",
            "--challenge-window",
            "20",
        ];
        let policy = run(&short).unwrap().genesis.network_policy().unwrap();
        assert_eq!(policy.wpost_proving_period, 80);
        assert!(run(&short[..2]).is_err(), "the two belong together");
        let both = [&short[..], &["--policy", "x.toml"]].concat();
        assert!(run(&both).is_err());
        let bad = [
            "--proving-period-deadlines",
            "1",
            "--challenge-window",
            "20",
        ];
        let error = run(&bad).unwrap().genesis.network_policy().unwrap_err();
        assert_eq!(error.exit, Exit::Config);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        std::fs::write(&path, "nonsense = 1\n").unwrap();
        let file = ["--policy", path.to_str().unwrap()];
        let error = run(&file).unwrap().genesis.network_policy().unwrap_err();
        assert_eq!(error.exit, Exit::Config);
        assert!(error.message.contains("nonsense"), "{error}");
    }

    #[test]
    fn seeds_are_32_bytes_of_hex() {
        let ok = "07".repeat(32);
        let seed = run(&["--seed", &ok]).unwrap().genesis.seed();
        assert_eq!(seed, [7; 32]);
        assert_eq!(
            run(&[]).unwrap().genesis.seed(),
            run(&[]).unwrap().genesis.seed()
        );
        for bad in ["", "07", "zz"] {
            assert!(run(&["--seed", bad]).is_err(), "{bad}");
        }
    }
}
