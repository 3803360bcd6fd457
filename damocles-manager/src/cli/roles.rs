//! `util roles`.

use super::{client::Manager, show};
use clap::Args;
use damocles_api::damocles::DamoclesClient;
use damocles_daemon::table::Table;

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  damocles-manager util roles --json | jq -r '.[] | select(.Role == \"post\") | .By'")]
pub(super) struct RolesArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(manager: &Manager, args: RolesArgs) -> anyhow::Result<()> {
    let roles = manager.rpc.roles().await.map_err(|e| manager.failed(e))?;
    if args.json {
        return show::json(&roles);
    }
    if roles.is_empty() {
        println!("nobody has taken a role yet");
        return Ok(());
    }
    let mut table = Table::new(
        &["role", "of", "manager", "fence"],
        &["role", "of", "manager"],
    );
    for role in roles {
        table.add_row([
            role.role,
            role.scope,
            show::or_dash(role.by),
            role.fence.to_string(),
        ]);
    }
    show::print(&table);
    Ok(())
}
