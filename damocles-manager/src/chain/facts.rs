//! What the node tells of its network, asked once: it does not change while a node runs.

use crate::chain::{Chain, ChainError};
use damocles_types::Epoch;
use fvm_shared::address::Network;
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// What the main network calls itself.
const MAIN: &str = "mainnet";

/// The network's constants, cached.
#[derive(Clone, Debug)]
pub struct Facts {
    chain: Arc<dyn Chain>,
    known: Arc<OnceCell<Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    block_delay: Duration,
    challenge_delay: Epoch,
    prefix: Network,
}

impl Facts {
    pub fn new(chain: Arc<dyn Chain>) -> Self {
        Self {
            chain,
            known: Arc::default(),
        }
    }

    async fn known(&self) -> Result<Known, ChainError> {
        let ask = || async {
            let params = self.chain.network_params().await?;
            Ok(Known {
                // A test network that is faster than a second says 0 or 1.
                block_delay: Duration::from_secs(params.block_delay_secs.max(1)),
                challenge_delay: params.pre_commit_challenge_delay,
                prefix: match params.network_name.as_str() {
                    MAIN => Network::Mainnet,
                    _ => Network::Testnet,
                },
            })
        };
        self.known.get_or_try_init(ask).await.copied()
    }

    /// Time between two epochs.
    pub async fn block_delay(&self) -> Result<Duration, ChainError> {
        Ok(self.known().await?.block_delay)
    }

    /// How addresses begin: f on the main network, t elsewhere.
    pub async fn prefix(&self) -> Result<Network, ChainError> {
        Ok(self.known().await?.prefix)
    }

    /// Epochs between a precommit and the seed of its proof.
    pub async fn challenge_delay(&self) -> Result<Epoch, ChainError> {
        Ok(self.known().await?.challenge_delay)
    }
}
