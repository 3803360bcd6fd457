//! `config`: the file looked at, and compared with what a running manager goes by.

use super::{
    client::{Manager, Reach},
    show,
};
use crate::config::{self, Config, Counts, differences, with_secrets};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use damocles_api::damocles_cli::DamoclesCliClient;
use damocles_daemon::{
    config::{check_json, differences_json},
    exit::Fatal,
};
use std::path::{Path, PathBuf};

/// Look at sector-manager.cfg.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager config check && kill -HUP $(pidof damocles-manager)
  damocles-manager config show                             every key with its value
  damocles-manager config diff                             what the running manager has not read yet")]
pub struct ConfigArgs {
    /// Directory of sector-manager.cfg [default: DAMOCLES_CONF_DIR, or the home]
    #[arg(long, global = true, value_name = "DIR")]
    conf_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the file whole, and list all faults
    #[command(after_help = "\
Example:
  damocles-manager config check --json | jq -r '.Faults[] | \"\\(.Line): \\(.Key): \\(.Message)\"'")]
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every key with the value that holds, defaults included and secrets left out
    #[command(after_help = "\
Example:
  damocles-manager config show | grep -A5 'Miners.PoSt'")]
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print in which keys the file differs from what the running manager goes by, and when each
    /// will count
    #[command(after_help = "\
Example:
  damocles-manager config diff --json | jq -r '.[] | select(.Counts == \"AtStart\") | .Key'")]
    Diff {
        #[command(flatten)]
        reach: Reach,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(home: PathBuf, args: ConfigArgs) -> anyhow::Result<()> {
    let ConfigArgs { conf_dir, command } = args;
    let dir = config::config_dir(conf_dir.as_deref(), &home, &|name| std::env::var(name).ok());
    let path = dir.join(config::CONFIG_FILE);
    match command {
        ConfigCommand::Check { json } => check(&path, json),
        ConfigCommand::Show { json } => print(&config::check_file(&path)?, json),
        ConfigCommand::Diff { reach, json } => {
            let config = config::check_file(&path)?;
            let ask = async |manager: &Manager| diff(manager, &config, json).await;
            reach.ask(&home, ask).await
        }
    }
}

fn check(path: &Path, as_json: bool) -> anyhow::Result<()> {
    let checked = config::examine(path)?;
    if as_json {
        let notices = checked.as_ref().map_or(&[][..], |c| &c.notices);
        show::json(&check_json(path, checked.as_ref().err(), notices))?;
    }
    let config = checked.map_err(Fatal::from)?;
    if !as_json {
        for line in config.warnings() {
            println!("warning: {line}");
        }
        println!("{}", config.summary(path));
    }
    Ok(())
}

fn print(config: &Config, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let table: toml::Table = config.effective.parse().context("the effective file")?;
        return show::json(&table);
    }
    print!("{}", config.effective);
    Ok(())
}

async fn diff(manager: &Manager, file: &Config, as_json: bool) -> anyhow::Result<()> {
    let running = manager.rpc.configuration().await;
    let running = running.map_err(|e| manager.failed(e))?;
    let found = differences(&running.effective, &file.effective)?;
    let same = file.secrets.fingerprint(&running.salt) == running.secrets;
    let found = with_secrets(found, same);
    if as_json {
        return show::json(&differences_json(&found));
    }
    if found.is_empty() {
        println!("the running manager has read this file");
    }
    for difference in &found {
        let when = match difference.counts {
            Counts::Now => "with SIGHUP",
            Counts::AtStart => "with a restart",
        };
        show::say(format!("{difference} (counts {when})"));
    }
    for waits in &running.waiting {
        show::say(format!("{waits} (was read, and counts with a restart)"));
    }
    Ok(())
}
