//! `util profile`.

use super::{client::Manager, show};
use clap::Subcommand;
use damocles_api::profiles::{DamoclesProfilesClient, ProfileView};
use damocles_daemon::{
    exit::{Exit, Fatal},
    table::Table,
};

#[derive(Debug, Subcommand)]
pub(super) enum Profile {
    /// All profiles: TOML files in worker-profiles/ beside the manager's configuration
    #[command(after_help = "\
Example:
  damocles-manager util profile list --json | jq -r '.[] | select(.Faults != []) | .Name'")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a profile as workers get it
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Say what is wrong with a profile, or with any
    #[command(after_help = "\
Example:
  damocles-manager util profile check epyc-2gpu")]
    Check {
        /// Its name; all when left out
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Assign a profile to a worker whose file says `profile = \"assigned\"`
    #[command(after_help = "\
Examples:
  damocles-manager util profile assign sealer-7 epyc-2gpu
  damocles-manager util profile assign sealer-7 --none")]
    Assign {
        /// The worker's name
        #[arg(value_name = "WORKER")]
        worker: String,
        /// The profile's name
        #[arg(value_name = "NAME", required_unless_present = "none")]
        name: Option<String>,
        /// Take its assignment away
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Profile) -> anyhow::Result<()> {
    match command {
        Profile::List { json } => list(manager, json).await,
        Profile::Show { name } => {
            let got = manager
                .rpc
                .worker_profile(name.clone(), String::new())
                .await;
            let got = got.map_err(|e| manager.failed(e))?;
            let profile = got.ok_or_else(|| unknown(&name))?;
            print!("{}", profile.text);
            Ok(())
        }
        Profile::Check { name } => check(manager, name).await,
        Profile::Assign { worker, name, none } => {
            let name = name.filter(|_| !none);
            let assigned = manager.rpc.assign_profile(worker.clone(), name.clone());
            let before = assigned.await.map_err(|e| manager.failed(e))?;
            let was = before.map_or_else(String::new, |before| format!(" (before: {before})"));
            let now = name.unwrap_or_else(|| "no profile".to_owned());
            show::say(format!(
                "{worker} has {now}{was}; its settings change with its next sectors, the rest when it is started anew"
            ));
            Ok(())
        }
    }
}

fn unknown(name: &str) -> Fatal {
    Fatal::new(Exit::NotFound, format!("there is no profile {name:?}"))
        .hint("`damocles-manager util profile list` shows those that there are")
}

async fn all(manager: &Manager) -> anyhow::Result<Vec<ProfileView>> {
    let list = manager.rpc.worker_profiles().await;
    Ok(list.map_err(|e| manager.failed(e))?)
}

async fn list(manager: &Manager, json: bool) -> anyhow::Result<()> {
    let profiles = all(manager).await?;
    if json {
        return show::json(&profiles);
    }
    if profiles.is_empty() {
        println!(
            "there are no profiles; put TOML files into worker-profiles/ beside the manager's configuration"
        );
        return Ok(());
    }
    let mut table = Table::new(
        &["profile", "digest", "assigned to", "problem"],
        &["assigned to", "problem"],
    );
    for profile in profiles {
        let digest: String = profile.digest.chars().take(12).collect();
        table.add_row([
            profile.name,
            digest,
            show::or_dash(Some(profile.assigned.join(", ")).filter(|names| !names.is_empty())),
            show::or_dash(profile.faults.into_iter().next()),
        ]);
    }
    show::print(&table);
    Ok(())
}

async fn check(manager: &Manager, name: Option<String>) -> anyhow::Result<()> {
    let mut profiles = all(manager).await?;
    if let Some(name) = &name {
        profiles.retain(|profile| profile.name == *name);
        if profiles.is_empty() {
            return Err(unknown(name).into());
        }
    }
    let mut faulty = 0;
    for profile in &profiles {
        if profile.faults.is_empty() {
            show::say(format!("# {} is good", profile.name));
        }
        for fault in &profile.faults {
            show::say(format!("{}.toml: {fault}", profile.name));
        }
        faulty += usize::from(!profile.faults.is_empty());
    }
    match faulty {
        0 => Ok(()),
        faulty => Err(Fatal::new(Exit::Config, format!("{faulty} faulty profiles"))
            .hint("correct the files in worker-profiles/; workers keep the last profile that was right")
            .into()),
    }
}
