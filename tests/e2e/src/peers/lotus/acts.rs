//! What is done to the house and to its chain, act by act, and what must come of it.

use super::{
    SECTORS,
    branch::{Pool, lose_above, take_nonce},
    chain::{Executed, WINDOW_POST},
    contract::{self, Brought},
    people,
    trial::{PROOFS, SOON, Trial, at, named},
};
use crate::node::{PRE_COMMIT, PROVE_COMMIT};
use anyhow::{Context, Result, ensure};
use damocles_api::damocles::DamoclesClient;
use damocles_devnet::contract::{Asking, Live, questions};
use damocles_node::method;
use damocles_types::{ActorId, Epoch, SectorId};
use fvm_shared::econ::TokenAmount;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// Deeper than the confidence of the manager's config.
const DEEP: Epoch = 8;
/// How long the node is away.
const AWAY: Duration = Duration::from_secs(60);
/// No window is waited for longer.
const HOUR: Duration = Duration::from_secs(3600);

impl Trial<'_> {
    pub(super) async fn histories(&mut self) -> Result<String> {
        let sender = people::funded_key(&self.chain, "bls", 100).await?;
        let told = contract::tell(self.network, &sender, &self.other).await?;
        as_a_nodes(&told)
    }

    /// Starts the daemons; the chain stands still when the first precommits wait in the pool.
    pub(super) async fn set_out(&mut self) -> Result<String> {
        self.gates.pc2.shut("before")?;
        self.gates.c2.shut("before")?;
        let [a, b] = self.ids();
        self.house.fill("MINER_A", &a.to_string());
        self.house.fill("MINER_B", &b.to_string());
        self.house
            .fill("NODE", &self.network.info(Some(self.tap.address()))?);
        self.house.fill("FALLBACKS", "");
        self.house.start_manager().await?;
        self.house.start_worker().await?;
        self.until("PC2 to stand at the gate", SOON, async |s| {
            Ok(s.gates.pc2.holds().then_some(()))
        })
        .await?;
        self.network.hold();
        self.gates.pc2.open()?;
        self.until("two precommits in the pool", SOON, async |s| {
            let waiting = s.chain.waiting(&s.worker).await?;
            Ok((waiting.len() == 2).then_some(()))
        })
        .await?;
        // the next two wait until these are proven
        self.gates.pc2.shut("before")?;
        Ok("two precommits wait in the pool".to_owned())
    }

    pub(super) async fn nonce_taken(&mut self) -> Result<String> {
        self.kill()?;
        let pair = take_nonce(self.network, &self.worker, &self.other).await?;
        let nonce = pair.0.message.nonce;
        self.nonce = Some(pair);
        self.network.go_on();
        self.start().await?;
        let landed = self.land(PRE_COMMIT, 2).await?;
        Ok(format!("nonce {nonce} was lost; {}", at(&landed)))
    }

    /// The chain goes back to before the first of the messages, which lies deep by then.
    pub(super) async fn branch_below(&mut self, method: u64, pool: Pool) -> Result<String> {
        let before = self.done(method).await?;
        let count = before.len();
        let first = before.iter().map(|e| e.epoch).min().context("messages")?;
        self.until("the messages to lie deep", SOON, async |s| {
            Ok((s.chain.height().await? >= first + DEEP).then_some(()))
        })
        .await?;
        self.network.hold();
        let head = self.chain.height().await?;
        self.kill()?;
        lose_above(self.network, first - 1, pool, &self.worker).await?;
        let left = self.done(method).await?;
        ensure!(left.is_empty(), "still there: {}", at(&left));
        self.network.go_on();
        self.start().await?;
        let landed = self.land(method, count).await?;
        let lost = head - first + 1;
        Ok(format!("{lost} epochs lost; {}", at(&landed)))
    }

    /// The last epochs are lost; what was on them waits again.
    pub(super) async fn branch_by(&mut self, epochs: Epoch) -> Result<String> {
        let known = self.network.producing_since() + epochs;
        self.until("the producer to know the branch", SOON, async |s| {
            Ok((s.chain.height().await? > known).then_some(()))
        })
        .await?;
        let before = self.done(PRE_COMMIT).await?.len();
        self.network.hold();
        let head = self.chain.height().await?;
        self.kill()?;
        lose_above(self.network, head - epochs, Pool::Kept, &self.worker).await?;
        let left = self.done(PRE_COMMIT).await?.len();
        self.network.go_on();
        self.start().await?;
        let landed = self.land(PRE_COMMIT, before).await?;
        Ok(format!(
            "{} messages were on it; {}",
            before - left,
            at(&landed)
        ))
    }

    pub(super) async fn node_away(&mut self) -> Result<String> {
        self.network.kill()?;
        self.kill()?;
        self.start().await?;
        self.stays_unaided(AWAY).await?;
        self.network.revive().await?;
        self.network.start_producer().await?;
        self.believed().await?;
        let landed = self.land(PRE_COMMIT, 2).await?;
        Ok(at(&landed))
    }

    /// The last upgrade lies behind: precommitted before it, proven after it.
    pub(super) async fn upgraded(&mut self) -> Result<String> {
        let Some(height) = self.upgrade else {
            return Ok("this network has none to come; left out".to_owned());
        };
        let precommits = self.done(PRE_COMMIT).await?;
        let limit = SOON + self.block * 300;
        self.until("the upgrade", limit, async |s| {
            Ok((s.chain.height().await? > height + 2).then_some(()))
        })
        .await?;
        let version: u64 = self
            .chain
            .rpc
            .call(method::STATE_NETWORK_VERSION, [Value::Null])
            .await?;
        let early = precommits.iter().filter(|e| e.epoch < height).count();
        ensure!(
            early > 0,
            "all precommits came after the upgrade at {height}: {}",
            at(&precommits)
        );
        self.kill()?;
        self.start().await?;
        Ok(format!(
            "version {version} from {height} on; {early} sectors precommitted before it"
        ))
    }

    /// C2 is done with no funds to send the proofs.
    pub(super) async fn no_funds(&mut self) -> Result<String> {
        let purse = self.other.clone();
        let gas = TokenAmount::from_nano(20_000_000);
        people::send_all_but(&self.chain, &gas, &self.worker, &purse).await?;
        self.gates.c2.open()?;
        self.until("a proof to wait for funds", PROOFS, async |s| {
            let sectors = s.house.sectors().await?;
            let poor = |s: &str| s.contains("fund");
            Ok(sectors
                .iter()
                .find_map(|sector| sector.waits_for.clone().filter(|why| poor(why))))
        })
        .await?;
        // the next two go as far as their precommits, as soon as there are funds
        self.gates.pc2.open()?;
        self.kill()?;
        self.start().await?;
        self.stays_unaided(AWAY / 2).await?;
        let waited = self.waiting_for().await?;
        people::send_all_but(&self.chain, &gas, &purse, &self.worker).await?;
        let landed = self.land(PROVE_COMMIT, 2).await?;
        Ok(format!("{waited}; {}", at(&landed)))
    }

    pub(super) async fn questions(&mut self) -> Result<String> {
        self.gates.c2.shut("before")?;
        let precommits = self
            .until_known("the next precommits", SOON, PRE_COMMIT, 3)
            .await?;
        let proven = self.done(PROVE_COMMIT).await?;
        let of = |all: &[Executed]| -> BTreeSet<SectorId> { all.iter().flat_map(named).collect() };
        let (precommitted, proven) = (of(&precommits), of(&proven));
        let sector = proven.first().context("a proven sector")?;
        let waiting = precommitted
            .difference(&proven)
            .find(|waiting| waiting.miner == sector.miner);
        let brought = Brought {
            miner: sector.miner,
            powerless: self.powerless,
            token: &self.network.token()?,
            worker: &self.worker,
            other: &self.other,
            proven: sector.number,
            precommitted: waiting.map(|waiting| waiting.number),
            nonce: self.nonce.as_ref().context("a nonce that was taken")?,
        };
        let scene = contract::scene(&self.chain, &brought).await?;
        let live = Live::new(self.network.address(), self.network.token()?);
        let told = questions(&live, &scene).await;
        as_a_nodes(&told)
    }

    /// The first node goes, and the one that is left knows nothing yet.
    pub(super) async fn second_node(&mut self) -> Result<String> {
        self.network.start_second().await?;
        let fallback = format!("\"{}\"", self.network.second_info()?);
        self.house.fill("FALLBACKS", &fallback);
        self.kill()?;
        self.start().await?;
        self.network.kill()?;
        self.kill()?;
        self.start().await?;
        self.stays_unaided(AWAY).await?;
        let height = self.network.second_height().await?;
        self.network.revive().await?;
        self.network.start_producer().await?;
        self.network.connect().await?;
        self.believed().await?;
        Ok(format!("it stood at {height}"))
    }

    pub(super) async fn all_proven(&mut self) -> Result<String> {
        self.gates.c2.open()?;
        let all = 2 * SECTORS as usize;
        self.tap.take();
        let begin = self.chain.height().await?;
        let landed = self
            .until_known("every proof", PROOFS * 2, PROVE_COMMIT, all)
            .await?;
        self.until("every sector to be finished", PROOFS, async |s| {
            let known = s.house.sectors().await?;
            let finished = known.iter().filter(|sector| sector.finalized).count();
            Ok((finished == all).then_some(()))
        })
        .await?;
        self.report.epochs = self.chain.height().await? - begin;
        self.report.questions = self.tap.take();
        Ok(at(&landed))
    }

    /// Every window of a sector is proven that comes within an hour.
    pub(super) async fn posts(&mut self) -> Result<String> {
        let mut told = Vec::new();
        let mut due = BTreeSet::new();
        for SectorId { miner, number } in self.proven().await? {
            let place = self.chain.node.location(miner, number).await?;
            let opens = self.chain.node.next_opening(miner, number).await?;
            due.insert((opens, miner, place.deadline));
        }
        let mut proven = 0;
        for (opens, miner, deadline) in due {
            let (opens, posted) = match self.posted(miner, deadline, 0).await? {
                Some(post) => (self.opened(miner, deadline).await?, Some(post)),
                None => (opens, None),
            };
            let wait = (opens - self.chain.height().await?).max(0);
            if posted.is_none() && self.block * wait as u32 > HOUR {
                told.push(format!("f0{miner} deadline {deadline}: in {wait} epochs"));
                continue;
            }
            let post = match posted {
                Some(post) => post,
                None => self.post(miner, deadline, opens).await?,
            };
            proven += 1;
            let after = post.epoch - opens;
            told.push(format!(
                "f0{miner} deadline {deadline}: {after} after its opening"
            ));
        }
        ensure!(proven > 0, "no window came in time: {told:?}");
        for miner in self.ids() {
            let faults = self.chain.node.faults(miner).await?;
            ensure!(faults.is_empty(), "faulty sectors of f0{miner}: {faults:?}");
        }
        Ok(told.join(", "))
    }

    /// A WindowPoSt that the chain took above `since`.
    async fn posted(
        &self,
        miner: ActorId,
        deadline: u64,
        since: Epoch,
    ) -> Result<Option<Executed>> {
        let sent = self.chain.to_miners(&[miner], since).await?;
        let good = |e: &Executed| e.exit_code == 0 && e.deadline() == Some(deadline);
        Ok(sent.into_iter().find(good))
    }

    /// When a deadline opened last.
    async fn opened(&self, miner: ActorId, deadline: u64) -> Result<Epoch> {
        let now = self.chain.node.deadline(miner).await?;
        let opens = now.period_start + deadline as Epoch * now.wpost_challenge_window;
        let to_come = opens > now.current_epoch;
        Ok(opens - if to_come { now.wpost_proving_period } else { 0 })
    }

    /// Waits for the WindowPoSt of a window.
    async fn post(&self, miner: ActorId, deadline: u64, opens: Epoch) -> Result<Executed> {
        let window = self
            .chain
            .node
            .deadline(miner)
            .await?
            .wpost_challenge_window;
        let end = opens + window;
        let left = (end - self.chain.height().await?).max(0);
        let what = format!("a WindowPoSt of f0{miner} for deadline {deadline} from {opens}");
        self.until(what, SOON + self.block * left as u32, async |s| {
            let found = s.posted(miner, deadline, opens - 1).await?;
            if found.is_none() && s.chain.height().await? > end {
                return Ok(Some(Err(anyhow::anyhow!("the window closed at {end}"))));
            }
            Ok(found.map(Ok))
        })
        .await?
    }

    /// What the manager says is what the chain has, and nothing was sent twice.
    pub(super) async fn nothing_untrue(&mut self) -> Result<String> {
        let known = self.house.sectors().await?;
        for sector in &known {
            ensure!(sector.finalized, "not finished: {sector:#?}");
        }
        let proven = self.proven().await?;
        self.report.sectors = proven.len();
        let all: BTreeSet<SectorId> = known.iter().map(|sector| sector.id).collect();
        ensure!(proven == all, "proven: {proven:?}, known: {all:?}");
        for method in [PRE_COMMIT, PROVE_COMMIT] {
            let done = self.done(method).await?;
            let sectors: Vec<SectorId> = done.iter().flat_map(named).collect();
            let once: BTreeSet<&SectorId> = sectors.iter().collect();
            ensure!(once.len() == sectors.len(), "sent twice: {}", at(&done));
        }
        let posts = self.chain.to_miners(&self.ids(), 0).await?;
        let mut windows = BTreeSet::new();
        for post in posts.iter().filter(|e| e.message.method == WINDOW_POST) {
            let window = (post.message.to, post.deadline(), post.epoch / 2880);
            ensure!(windows.insert(window), "sent twice: {post:?}");
        }
        self.note_what_was_given_up().await?;
        let kills = self.kills;
        Ok(format!(
            "manager and worker were killed {kills} times on the way"
        ))
    }

    /// Messages that did not land, as the manager tells them.
    async fn note_what_was_given_up(&mut self) -> Result<()> {
        for sector in self.house.sectors().await? {
            let manager = self.house.manager()?;
            let messages = manager.typed().sector_messages(sector.id).await?;
            let over = |state: &str| state == "Landed" || state == "Final";
            let open = messages.into_iter().filter(|message| !over(&message.state));
            self.report.refused.extend(open.map(|message| {
                let why = message.last_error.unwrap_or_default();
                format!("{}: {} {}: {why}", sector.id, message.kind, message.state)
            }));
        }
        Ok(())
    }
}

fn as_a_nodes(asking: &Asking) -> Result<String> {
    ensure!(asking.faults.is_empty(), "{}", asking.faults.join("; "));
    let (asked, left) = (asking.asked.len(), &asking.left);
    let mut told = format!("{asked} as recorded");
    if !left.is_empty() {
        told.push_str(&format!("; left out: {}", left.join(", ")));
    }
    Ok(told)
}
