//! Follows the head of the chain and tells whoever watches.

use crate::chain::{Chain, Facts};
use damocles_node::TipSetKey;
use damocles_types::Epoch;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the head is asked for: a quarter of the block delay, within these bounds.
const QUICKEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(5);

/// The newest tipset that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub height: Epoch,
    pub key: TipSetKey,
    /// Unix time in seconds of its blocks.
    pub timestamp: u64,
}

/// Asks for the head again and again.
#[derive(Debug)]
pub struct HeadFollower {
    chain: Arc<dyn Chain>,
    facts: Facts,
    tell: watch::Sender<Option<Head>>,
    trouble: watch::Sender<Option<String>>,
}

impl HeadFollower {
    /// The follower, and where the head can be watched; `None` until the node has answered.
    pub fn new(chain: Arc<dyn Chain>, facts: Facts) -> (Self, watch::Receiver<Option<Head>>) {
        let (tell, watch) = watch::channel(None);
        let follower = Self {
            chain,
            facts,
            tell,
            trouble: watch::channel(None).0,
        };
        (follower, watch)
    }

    /// Why there is no head now: nobody answers, or nobody is believed. `None` while there is.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Runs until `stop`. A node that does not answer is waited for, and said so once.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut down = false;
        loop {
            match self.chain.head().await {
                Ok(tip) => {
                    if down {
                        tracing::info!(height = tip.height, "the Filecoin node is back");
                        down = false;
                    }
                    self.say(None);
                    let timestamp = tip.blocks.first().map_or(0, |b| b.timestamp);
                    let head = Head {
                        height: tip.height,
                        key: tip.cids,
                        timestamp,
                    };
                    self.tell.send_if_modified(|known| {
                        let news = known.as_ref() != Some(&head);
                        if news {
                            *known = Some(head);
                        }
                        news
                    });
                }
                // a head that is not believed is told to nobody: what follows it stands still
                Err(error) => {
                    if !down {
                        tracing::warn!(%error, "waiting for the Filecoin node");
                        down = true;
                    }
                    self.say(Some(error.to_string()));
                }
            }
            let pause = match self.facts.block_delay().await {
                Ok(delay) if !down => (delay / 4).clamp(QUICKEST, SLOWEST),
                _ => Duration::from_secs(1),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl HeadFollower {
    fn say(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|known| {
            let news = *known != trouble;
            *known = trouble;
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::script::ScriptChain;

    #[tokio::test(start_paused = true)]
    async fn heads_are_told_and_an_outage_is_survived() {
        let chain = Arc::new(ScriptChain::at(10));
        chain.set_down(true);
        let facts = Facts::new(chain.clone());
        let (follower, mut watch) = HeadFollower::new(chain.clone(), facts);
        let mut trouble = follower.trouble();
        let stop = CancellationToken::new();
        let task = tokio::spawn(follower.run(stop.clone()));

        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*watch.borrow(), None, "nothing is known while it is down");
        assert!(trouble.borrow().as_ref().unwrap().contains("refused"));
        chain.set_down(false);
        let known = |at: Epoch| move |h: &Option<Head>| h.as_ref().is_some_and(|h| h.height == at);
        watch.wait_for(known(10)).await.unwrap();
        chain.advance(5);
        watch.wait_for(known(15)).await.unwrap();
        assert_eq!(*trouble.borrow(), None);
        // it syncs anew: what it says is told to nobody
        chain.edit().behind = Some("its head is 7 hours old".into());
        chain.advance(-10);
        let said = trouble.wait_for(Option::is_some).await.unwrap().clone();
        assert!(said.unwrap().contains("7 hours old"));
        assert!(
            known(15)(&watch.borrow()),
            "the last head that was believed"
        );
        chain.edit().behind = None;
        watch.wait_for(known(5)).await.unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}
