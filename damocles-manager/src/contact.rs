//! The first meeting with the Filecoin node, and what is said of it from then on: is it of the
//! network that the database is of, may we sign there, does it know our miners, may the senders
//! act for them, is it up to date. One miner that the chain does not know is off, with an error
//! that says so; the others are served.

use crate::{
    chain::{Chain, ChainError, Facts, Head, NodeChain},
    db::Db,
    messages::{Engine, EngineError},
    policy::MinerPolicy,
    served::{Policies, Served},
    venus::Messager,
    wallet::Signer,
};
use damocles_daemon::{
    exit::{Exit, Fatal},
    metrics::Readiness,
    systemd,
};
use damocles_node::{MinerInfo, TipSetKey};
use damocles_processor::{Stage, params, task::Circuit};
use damocles_types::{ActorId, SectorSize};
use fvm_shared::address::{Address, set_current_network};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Waits for the node, checks at first contact what only the node knows, and keeps saying
/// whether it is there.
#[derive(Debug)]
pub struct Contact {
    pub node: Arc<NodeChain>,
    /// That of the node whose wallet signs.
    pub token: Option<String>,
    pub facts: Facts,
    pub served: Served,
    pub messages: Engine,
    pub db: Db,
    pub readiness: Readiness,
    /// Whether WindowPoSts are proven here.
    pub poster: bool,
}

/// Pause between two tries, and between two lines in the log.
const RETRY: Duration = Duration::from_secs(2);
const REMIND: Duration = Duration::from_secs(60);

const NO_MINER_HINT: &str = "correct Actor in [[Miners]] and send this daemon SIGHUP";
const TOKEN_HINT: &str = "make one there (Lotus: `lotus auth create-token --perm sign`) and write Chain = \"<token>:<address>\"";

/// Why the node and this manager cannot work together.
#[derive(Debug)]
enum Meeting {
    /// Not now.
    Later(String),
    /// Not before a person changes something.
    Never(Fatal),
}

impl Meeting {
    fn of(error: ChainError) -> Self {
        match error {
            ChainError::Denied { .. } => Self::Never(
                Fatal::new(
                    Exit::Refused,
                    "the Filecoin node does not accept the token in Common.API",
                )
                .hint(TOKEN_HINT),
            ),
            other => Self::Later(other.to_string()),
        }
    }
}

/// What an up-to-date node says of a miner.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Yes,
    /// There is no such actor.
    No(String),
    /// It could not tell; it is asked again.
    Unclear(String),
}

/// Only an actor that is not there speaks against a miner; every other refusal is about the
/// node's state. Pure.
fn known<T>(answer: &Result<T, ChainError>) -> Known {
    match answer {
        Ok(_) => Known::Yes,
        Err(error) if error.knows_no_actor() => Known::No(error.to_string()),
        // Lotus, of an actor that is an account, say
        Err(ChainError::Refused { message, .. }) if message.contains("actor code is not miner") => {
            Known::No(message.clone())
        }
        Err(error) => Known::Unclear(error.to_string()),
    }
}

impl Contact {
    /// Works until `stop`.
    ///
    /// # Errors
    /// A [`Fatal`] for what only a person can mend.
    pub async fn run(
        self,
        mut head: watch::Receiver<Option<Head>>,
        trouble: watch::Receiver<Option<String>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        // what is new from now on was not met
        let mut served = self.served.changes();
        let met = served.borrow_and_update().clone();
        let unclear = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            met = self.first_contact() => met?,
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = self.ask_on(unclear, met, served) => Ok(()),
            () = self.keep_watching(&mut head, trouble) => Ok(()),
        }
    }

    /// Returns those of the miners of which the node could not tell whether they exist.
    async fn first_contact(&self) -> Result<BTreeSet<ActorId>, Fatal> {
        // the follower of the head says it first
        let mut said = Instant::now();
        loop {
            match self.introduce().await {
                Ok(unclear) => {
                    tracing::info!("the Filecoin node answers; ready");
                    systemd::status("ready");
                    self.readiness.ready();
                    return Ok(unclear);
                }
                Err(Meeting::Later(reason)) => {
                    self.readiness
                        .wait_for(format!("the Filecoin node: {reason}"));
                    systemd::status("waiting for the Filecoin node");
                    if said.elapsed() >= REMIND {
                        tracing::warn!("still waiting for the Filecoin node: {reason}");
                        said = Instant::now();
                    }
                }
                Err(Meeting::Never(fatal)) => return Err(fatal),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// It is our network, our token is taken, and there is a miner to serve.
    async fn introduce(&self) -> Result<BTreeSet<ActorId>, Meeting> {
        self.same_network().await?;
        // from now on addresses are shown as the network's people write them
        set_current_network(self.facts.prefix().await.map_err(Meeting::of)?);
        self.token_signs().await?;
        // of a head that is not believed nothing follows
        self.node.head().await.map_err(Meeting::of)?;
        let mut missing = Vec::new();
        let mut unclear = Vec::new();
        let served = self.served.all();
        for miner in served.iter() {
            let info = self.node.miner_info(miner.actor, &TipSetKey::HEAD).await;
            match known(&info) {
                Known::Yes => self.serve(miner, info.ok()).await,
                Known::No(why) => missing.push((miner.actor, why)),
                Known::Unclear(why) => unclear.push((miner.actor, why)),
            }
        }
        if let Some((actor, why)) = missing.first()
            && missing.len() == served.len()
        {
            return Err(Meeting::Never(
                Fatal::new(
                    Exit::NotFound,
                    format!("there is no miner {actor} on the node's chain: {why}"),
                )
                .hint("correct Actor in [[Miners]], or let Common.API.Chain name a node of the right network"),
            ));
        }
        if let Some((actor, why)) = unclear.first()
            && missing.len() + unclear.len() == served.len()
        {
            return Err(Meeting::Later(format!(
                "it does not tell of miner {actor}: {why}"
            )));
        }
        for (miner, why) in missing {
            tracing::error!(
                miner,
                why,
                hint = NO_MINER_HINT,
                "there is no such miner on the node's chain: it is not served, the others are"
            );
        }
        for (miner, why) in &unclear {
            tracing::warn!(
                miner,
                why,
                "the node does not tell of a miner now; asking again"
            );
        }
        Ok(unclear.into_iter().map(|(actor, _)| actor).collect())
    }

    /// The database is of the node's network, or of none yet.
    async fn same_network(&self) -> Result<(), Meeting> {
        // what the first node says counts, and of which network it is it says whoever asks
        let Some(theirs) = self.node.first_genesis().await.map_err(Meeting::of)? else {
            tracing::debug!("the node does not tell its genesis");
            return Ok(());
        };
        let db_error = |e: crate::db::DbError| Meeting::Later(e.to_string());
        let ours = self.db.call(|db| db.network()).await.map_err(db_error)?;
        match ours {
            Some(ours) if ours == theirs => Ok(()),
            Some(ours) => Err(Meeting::Never(
                Fatal::new(
                    Exit::Data,
                    format!(
                        "the database is of the network with genesis {ours}, and the Filecoin node is of the one with genesis {theirs}"
                    ),
                )
                .hint("let Common.API.Chain name a node of the database's network, or give the other network a home of its own with --home"),
            )),
            None => {
                tracing::info!(genesis = theirs, "the database belongs to this network from now on");
                let stamp = theirs.clone();
                self.db
                    .call(move |db| db.set_network(&stamp))
                    .await
                    .map_err(db_error)
            }
        }
    }

    /// Says that a miner is served, and what keeps its messages from being sent and its proofs
    /// from being made.
    async fn serve(&self, miner: &MinerPolicy, info: Option<MinerInfo>) {
        let actor = miner.actor;
        tracing::info!(miner = actor, "serving a miner");
        if let Some(size) = info.and_then(|info| SectorSize::from_bytes(info.sector_size)) {
            let proves = self.poster && miner.post.enabled;
            // the directory may lie on a disk that hangs; nobody waits for it
            drop(tokio::task::spawn_blocking(move || {
                say_what_is_missing(actor, size, proves);
            }));
        }
        let sections = [
            ("Commitment.Pre", &miner.pre.senders),
            ("Commitment.Prove", &miner.prove.senders),
            ("PoSt", &miner.post.senders),
        ];
        let mut checked: Vec<&[Address]> = Vec::new();
        for (section, senders) in sections {
            if checked.contains(&senders.as_slice()) {
                continue;
            }
            checked.push(senders);
            let head = TipSetKey::HEAD;
            let sender = self.messages.choose_sender(actor, senders, &head).await;
            match sender {
                Ok(sender) => self.has_key(actor, section, sender).await,
                Err(error @ EngineError::NoSender { .. }) => tracing::error!(
                    miner = actor, section, %error,
                    "messages of this miner cannot be sent: its sectors will wait"
                ),
                Err(error) => {
                    tracing::warn!(miner = actor, section, %error, "the senders could not be checked");
                }
            }
        }
    }

    async fn has_key(&self, miner: ActorId, section: &str, sender: Address) {
        if let Some(messager) = self.messages.messager() {
            return messager_has_key(messager, miner, section, sender).await;
        }
        match self.messages.keys().signer(&sender) {
            Signer::Store => {
                tracing::info!(miner, section, %sender, "the key store signs for the sender");
                return;
            }
            Signer::Locked(why) => {
                tracing::error!(
                    miner, section, %sender, why,
                    "the key store is locked: messages of this miner wait until it is open"
                );
                return;
            }
            Signer::Node => {}
        }
        match self.node.wallet_has(sender).await {
            Ok(true) => {}
            Ok(false) => tracing::error!(
                miner, section, %sender,
                hint = "import the key there or into the key store (`damocles-manager util wallet import`), or name another sender",
                "the node's wallet has no key of the sender: messages of this miner cannot be sent, its sectors will wait"
            ),
            // not every node has the method, nor every token the right
            Err(error) => {
                tracing::debug!(miner, %error, "the node does not tell whether it has a key")
            }
        }
    }

    /// A token that may not sign is found now, not when the first sector wants its message.
    async fn token_signs(&self) -> Result<(), Meeting> {
        if self.messages.messager().is_some() {
            return Ok(());
        }
        let Some(token) = &self.token else {
            return self.anybody_signs().await;
        };
        match self.node.token_allows(token).await {
            Ok(allowed) if allowed.iter().any(|p| p == "sign") => Ok(()),
            Ok(allowed)
                if self.messages.keys().is_there() && allowed.iter().any(|p| p == "write") =>
            {
                tracing::info!(
                    "the node sends for this manager and does not sign: only senders of the key store can send"
                );
                Ok(())
            }
            Ok(allowed) => Err(Meeting::Never(
                Fatal::new(
                    Exit::Refused,
                    format!(
                        "the token in Common.API allows only {:?} at the Filecoin node",
                        allowed.join(", ")
                    ),
                )
                .hint(TOKEN_HINT),
            )),
            Err(e @ (ChainError::Unreachable { .. } | ChainError::Denied { .. })) => {
                Err(Meeting::of(e))
            }
            // not every node has the method; then the first message shows it
            Err(error) => {
                tracing::debug!(%error, "the node does not tell what our token allows");
                Ok(())
            }
        }
    }

    /// Without a token the node must be one that asks for none; a question that needs more than
    /// to read shows it.
    async fn anybody_signs(&self) -> Result<(), Meeting> {
        match self.node.wallet_has(Address::new_id(0)).await {
            Err(ChainError::Denied { .. }) => Err(Meeting::Never(
                Fatal::new(
                    Exit::Refused,
                    "Common.API.Chain carries no token, and the Filecoin node signs for nobody without one",
                )
                .hint(TOKEN_HINT),
            )),
            Err(error) if error.is_unreachable() => Err(Meeting::of(error)),
            _ => {
                tracing::warn!(
                    "Common.API.Chain carries no token: whether the node signs for this manager shows with the first message"
                );
                Ok(())
            }
        }
    }

    /// Asks again of miners that the node could not tell of, and of those that are new or
    /// other in a configuration that was read again.
    async fn ask_on(
        &self,
        mut unclear: BTreeSet<ActorId>,
        mut met: Policies,
        mut served: watch::Receiver<Policies>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REMIND), if !unclear.is_empty() => {}
                changed = served.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    let now = served.borrow_and_update().clone();
                    let news = now.iter().filter(|m| !met.contains(m));
                    unclear.extend(news.map(|m| m.actor));
                    unclear.retain(|actor| now.iter().any(|m| m.actor == *actor));
                    met = now;
                }
            }
            for miner in self.served.all().iter() {
                if !unclear.contains(&miner.actor) {
                    continue;
                }
                let info = self.node.miner_info(miner.actor, &TipSetKey::HEAD).await;
                match known(&info) {
                    Known::Yes => self.serve(miner, info.ok()).await,
                    Known::No(why) => tracing::error!(
                        miner = miner.actor,
                        why,
                        hint = NO_MINER_HINT,
                        "there is no such miner on the node's chain: it is not served, the others are"
                    ),
                    Known::Unclear(why) => {
                        tracing::warn!(
                            miner = miner.actor,
                            why,
                            "the node still does not tell of a miner"
                        );
                        continue;
                    }
                }
                unclear.remove(&miner.actor);
            }
        }
    }

    async fn keep_watching(
        &self,
        head: &mut watch::Receiver<Option<Head>>,
        mut trouble: watch::Receiver<Option<String>>,
    ) {
        let block_delay = self
            .facts
            .block_delay()
            .await
            .unwrap_or(Duration::from_secs(30));
        // several null rounds in a row are no outage
        let silence = (block_delay * 8).max(Duration::from_secs(30));
        loop {
            tokio::select! {
                changed = head.changed() => {
                    // the follower ends only when the daemon does
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                }
                changed = trouble.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                }
                () = tokio::time::sleep(silence) => {
                    if trouble.borrow().is_none() {
                        let (node, seconds) = (self.node.shown(), silence.as_secs());
                        let reason = format!("the Filecoin node {node}: no new head for {seconds} s");
                        self.readiness.wait_for(reason);
                    }
                    continue;
                }
            }
            let why = trouble.borrow().clone();
            match why {
                Some(why) => self.readiness.wait_for(why),
                None if self.readiness.reason().is_some() => self.readiness.ready(),
                None => {}
            }
        }
    }
}

/// The parameters that this manager needs are looked for now, not in the first window and not
/// when the first proof comes in.
fn say_what_is_missing(miner: ActorId, size: SectorSize, proves: bool) {
    if proves && let Err(error) = params::require(Stage::WindowPost, size) {
        tracing::error!(
            miner, %error, hint = error.hint(),
            "WindowPoSts of this miner cannot be proven until that is mended: its sectors would become faulty"
        );
    }
    if let Err(error) = params::require_verifying_key(Circuit::PoRep, size) {
        tracing::warn!(
            miner, %error, hint = error.hint(),
            "proofs of new sectors of this miner cannot be checked until that is mended: they will wait"
        );
    }
}

/// Says whether a sender's messages will be signed that a messager gets.
async fn messager_has_key(messager: &dyn Messager, miner: ActorId, section: &str, sender: Address) {
    match messager.wallet_has(sender).await {
        Ok(true) => {
            tracing::info!(miner, section, %sender, "venus-messager signs for the sender");
        }
        Ok(false) => tracing::error!(
            miner, section, %sender,
            hint = "let a venus-wallet with the key register at the gateway for the account of our token, or name another sender",
            "no wallet behind venus-messager has the key of the sender for us: messages of this miner wait, its sectors too"
        ),
        Err(error) => {
            tracing::warn!(miner, section, %sender, %error, "venus-messager does not tell whether it signs for the sender");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_actor_that_is_not_there_speaks_against_a_miner() {
        let refused = |words: &str| -> Result<(), ChainError> {
            Err(ChainError::Refused {
                method: "StateMinerInfo".into(),
                code: 1,
                message: words.into(),
            })
        };
        assert_eq!(known(&Ok(())), Known::Yes);
        for words in [
            "failed to load miner actor: actor not found",
            "failed to load miner actor state: actor code is not miner: account",
        ] {
            assert!(matches!(known(&refused(words)), Known::No(_)), "{words}");
        }
        for words in [
            "load state tree: failed to load state tree: ipld: could not find bafy2",
            "failed to load tipset",
            "refusing explicit call due to state fork at epoch",
        ] {
            assert!(
                matches!(known(&refused(words)), Known::Unclear(_)),
                "{words}"
            );
        }
        let away: Result<(), _> = Err(ChainError::Behind {
            reason: "its head is 3 days old".into(),
        });
        assert!(matches!(known(&away), Known::Unclear(_)));
    }
}
