//! The story, from an empty folder to sectors whose windows were proven. Each step depends on the
//! one before it: the first that fails is the last one told.

use super::{
    Programs,
    branch::Pool,
    network::Network,
    people,
    report::Report,
    trial::{Gates, SOON, Trial},
};
use crate::{
    house::{House, Role},
    node::{PRE_COMMIT, PROVE_COMMIT},
    peers::tap::Tap,
    scenario::Gate,
};
use anyhow::Result;
use damocles_node::{NetworkParams, Version, method};
use damocles_types::Epoch;
use std::time::Duration;

/// No step is longer.
const STEP: Duration = Duration::from_secs(3600);
/// How long everything before the last proof takes, by experience.
const SEALING: Duration = Duration::from_secs(1200);
/// Less deep than the confidence of the manager's config.
const SHALLOW: Epoch = 2;

/// Tells the story. Whatever happened is in the report.
pub(super) async fn tell(programs: &Programs, house: &House) -> Report {
    let mut report = Report::default();
    let home = house.path("network");
    let begun = report
        .steps
        .take("a network of real nodes", STEP, async {
            let network = Network::begin(programs, &home, house.mark()).await?;
            let chain = network.chain()?;
            let version: Version = chain.rpc.call(method::VERSION, []).await?;
            let told = version.version.clone();
            Ok(((network, version), told))
        })
        .await;
    let Ok((network, version)) = begun else {
        return report;
    };
    report.lotus = version.version;
    let ended = Trial::begin(&mut report, house, &network).await;
    if ended.is_err() {
        eprintln!("{}\n{}", house.tails(30), network.tails(10));
    }
    let closed = async {
        for role in [Role::Worker, Role::Manager] {
            house.stop(role)?;
        }
        network.close()?;
        Ok(((), "every process ended when asked to".to_owned()))
    };
    // the story may have left daemons killed
    let _ = report.steps.take("the end", SOON, closed).await;
    report
}

impl<'a> Trial<'a> {
    async fn begin(report: &'a mut Report, house: &'a House, network: &'a Network) -> Result<()> {
        let chain = network.chain()?;
        let params: NetworkParams = chain.rpc.call(method::STATE_GET_NETWORK_PARAMS, []).await?;
        let block = Duration::from_secs(params.block_delay_secs.max(1));
        let now = chain.height().await?;
        let upgrades = params.fork_upgrade_params.into_values();
        // one that is years away is none
        let upgrade = upgrades
            .filter(|height| (now..now + 5000).contains(height))
            .max();
        let lead = (SEALING.as_secs() / block.as_secs()) as Epoch;
        let made = report
            .steps
            .take("miners whose first window comes in time", STEP, async {
                let worker = people::funded_key(&chain, "bls", 10_000).await?;
                let other = people::funded_key(&chain, "secp256k1", 100).await?;
                let (miners, powerless) = people::miners_in_time(&chain, &worker, lead).await?;
                let told = format!("{miners:?}; the network's last upgrade: {upgrade:?}");
                Ok(((worker, other, miners, powerless), told))
            })
            .await;
        let (worker, other, miners, powerless) = made?;
        let tap = Tap::before(&network.address()).await?;
        let gates = Gates {
            pc2: Gate::of(house, "pc2"),
            c2: Gate::of(house, "c2"),
        };
        let mut story = Trial {
            report,
            house,
            network,
            chain,
            tap,
            block,
            upgrade,
            miners,
            powerless,
            worker,
            other,
            gates,
            nonce: None,
            kills: 0,
        };
        let told = story.all().await;
        let kills = story.kills;
        let miners = story.ids();
        let summed = story.report.sum_up(&story.chain, &miners).await;
        if let Err(error) = summed {
            eprintln!("the chain cannot be summed up: {error:#}");
        }
        eprintln!("manager and worker were killed {kills} times");
        told
    }

    async fn step(
        &mut self,
        name: &str,
        act: impl AsyncFnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        // the steps are taken out so that the act may have the rest
        let mut steps = std::mem::take(&mut self.report.steps);
        let result = steps
            .take(name, STEP, async {
                let told = act(self).await?;
                Ok(((), told))
            })
            .await;
        self.report.steps = steps;
        result
    }

    async fn all(&mut self) -> Result<()> {
        self.step("the contract: histories", Self::histories)
            .await?;
        self.step("two sectors on their way", Self::set_out).await?;
        self.step("a nonce taken by another message", Self::nonce_taken)
            .await?;
        self.step(
            "a deep branch with precommits lost, the pool emptied",
            async |s| s.branch_below(PRE_COMMIT, Pool::Emptied).await,
        )
        .await?;
        self.step(
            "a deep branch with precommits lost, the pool kept",
            async |s| s.branch_below(PRE_COMMIT, Pool::Kept).await,
        )
        .await?;
        self.step("a shallow branch lost", async |s| {
            s.branch_by(SHALLOW).await
        })
        .await?;
        self.step("the node killed for a minute", Self::node_away)
            .await?;
        self.step("a network upgrade", Self::upgraded).await?;
        self.step("the wallet empty, and filled", Self::no_funds)
            .await?;
        self.step("the contract: questions", Self::questions)
            .await?;
        self.step(
            "a deep branch with proofs lost, the pool emptied",
            async |s| s.branch_below(PROVE_COMMIT, Pool::Emptied).await,
        )
        .await?;
        self.step("a second node that is hours behind", Self::second_node)
            .await?;
        self.step("all sectors proven", Self::all_proven).await?;
        self.step("WindowPoSts", Self::posts).await?;
        self.step("nothing told that is not so", Self::nothing_untrue)
            .await
    }
}
