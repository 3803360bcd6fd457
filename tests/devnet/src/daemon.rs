//! What the commands do: the one place where a network, its RPC and its signals meet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_daemon::lock::Home;
use damocles_daemon::services::Services;
use damocles_daemon::{net, runtime, signals};
use damocles_node::method::{METHODS, Permission};
use fvm_shared::address::{Network as AddressNetwork, set_current_network};
use serde_json::json;

use crate::auth::{API, Auth};
use crate::cli::{AuthCommand, Cli, Command, Methods, Run, Token};
use crate::network::Network;
use crate::rpc;
use crate::start::open_with;

/// How long the parts may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one command to its end.
pub fn execute(cli: Cli) -> anyhow::Result<()> {
    // Test networks write t…; this is for the whole process.
    set_current_network(AddressNetwork::Testnet);
    damocles_daemon::log::init(
        &cli.log,
        "info,filecoin_proofs=warn,storage_proofs_core=warn,storage_proofs_porep=warn,storage_proofs_post=warn",
    )?;
    match cli.command {
        Command::Run(args) => runtime::build(4)?.block_on(run(args)),
        Command::Auth(command) => auth(&command),
        Command::Methods(args) => methods(&args),
        Command::Bench(args) => crate::bench::run(&args),
    }
}

fn multiaddr(address: SocketAddr) -> String {
    let address = net::reachable(address);
    let kind = if address.is_ipv4() { "ip4" } else { "ip6" };
    format!("/{kind}/{}/tcp/{}/http", address.ip(), address.port())
}

async fn run(args: Run) -> anyhow::Result<()> {
    let at_repo = |mut fatal: Fatal| {
        fatal.hint = fatal.hint.map(|h| h.replace("--home", "--repo"));
        fatal
    };
    let home = Home::acquire(&args.repo, "damocles-devnet").map_err(at_repo)?;
    let stop = signals::stop_token(|| {}).context("catching signals")?;
    signals::reloads().context("catching signals")?.refuse();
    let (listener, address) = net::bind(args.listen).await?;
    // Whoever waits for this file must not find the one of an earlier run.
    match std::fs::remove_file(args.repo.join(API)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(crate::auth::unwritable(&args.repo.join(API), &e).into());
        }
        _ => {}
    }
    if Network::exists(&args.repo) {
        tracing::info!(
            "continuing the network of this repository; options for a new one have no effect"
        );
    } else if args.genesis.preseal > 0 {
        tracing::info!(
            sectors = args.genesis.preseal,
            miners = args.genesis.miners,
            "sealing the sectors of genesis"
        );
    }
    let repo = args.repo.clone();
    let node = tokio::task::spawn_blocking(move || {
        let address = multiaddr(address);
        open_with(
            &repo,
            &args.genesis,
            args.proof_bytes,
            args.block_time,
            address,
        )
    })
    .await
    .context("opening the network")??;
    let node = Arc::new(node);
    let others = [
        ("second", rpc::Kind::Full, args.second),
        ("gateway", rpc::Kind::Gateway, args.gateway),
    ];

    let mut services = Services::new(stop.clone());
    services.spawn("rpc", rpc::serve(listener, Arc::clone(&node), stop.clone()));
    let network = node.network.clone();
    let until = stop.clone();
    services.spawn("blocks", async move { network.produce(until).await });
    let mut beside = Vec::new();
    for (name, kind, listen) in others {
        let Some(listen) = listen else { continue };
        let (listener, address) = net::bind(listen).await?;
        let other = Arc::new(node.beside(kind, name, multiaddr(address))?);
        services.spawn(name, rpc::serve(listener, Arc::clone(&other), stop.clone()));
        other.announce()?;
        tracing::info!(api = multiaddr(address), "the {name} endpoint is running");
        beside.push(other);
    }
    node.announce()?;
    tracing::info!(
        api = multiaddr(address),
        token = %args.repo.join(crate::auth::TOKEN).display(),
        height = node.network.head().height,
        "the network is running"
    );
    let ended = services.run(PATIENCE).await;
    let withdrawn = beside.iter().try_for_each(|other| other.withdraw());
    let withdrawn = withdrawn.and(node.withdraw());
    // Whatever ended it, what the chain has done so far is kept.
    let network = node.network.clone();
    let saved = tokio::task::spawn_blocking(move || network.save())
        .await
        .context("saving the network")?;
    ended?;
    saved.context("saving the network")?;
    withdrawn?;
    tracing::info!(height = node.network.head().height, "saved and stopped");
    drop(home);
    Ok(())
}

fn auth(command: &AuthCommand) -> anyhow::Result<()> {
    let token = |args: &Token| {
        let top = Permission::from(args.perm);
        Auth::load(&args.repo).and_then(|auth| auth.token(top))
    };
    match command {
        AuthCommand::CreateToken(args) => println!("{}", token(args)?),
        AuthCommand::ApiInfo(args) => {
            let path = args.repo.join(API);
            let api = std::fs::read_to_string(&path).map_err(|e| {
                Fatal::new(
                    Exit::NotFound,
                    format!(
                        "the network is not running: {} cannot be read: {e}",
                        path.display()
                    ),
                )
                .hint("start it: damocles-devnet run --repo DIR")
            })?;
            println!("FULLNODE_API_INFO={}:{}", token(args)?, api.trim());
        }
    }
    Ok(())
}

fn methods(args: &Methods) -> anyhow::Result<()> {
    if args.json {
        let rows = METHODS.iter().map(|m| {
            json!({
                "name": m.name, "permission": m.permission.name(),
                "params": m.params, "result": m.result,
            })
        });
        println!(
            "{}",
            serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?
        );
    } else {
        print!("{}", rpc::table::render());
    }
    Ok(())
}
