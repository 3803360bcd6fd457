//! Several nodes must be of one network: on another one our miner is somebody else's, or its
//! sectors are not there and look lost. A network is known by its genesis.

use parking_lot::Mutex;

/// The network of all nodes, by what the first of them (in the operator's order) said of it.
#[derive(Debug, Default)]
pub(super) struct Membership(Mutex<Option<Known>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// Position of the node that said so; None: the database says so. And who that is.
    index: Option<usize>,
    shown: String,
    genesis: String,
}

/// What a node's genesis means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ours,
    /// From now on this is the network: nobody said before, or nobody before it in the order.
    Founds,
    Foreign,
}

fn judge(known: Option<&Known>, index: usize, genesis: &str) -> Verdict {
    match known {
        Some(known) if known.genesis == genesis => Verdict::Ours,
        Some(known) if known.index.is_none_or(|first| first < index) => Verdict::Foreign,
        Some(_) | None => Verdict::Founds,
    }
}

impl Membership {
    /// That of a database: no node of another network is asked.
    pub(super) fn of(genesis: String) -> Self {
        Self(Mutex::new(Some(Known {
            index: None,
            shown: "the database".to_owned(),
            genesis,
        })))
    }

    /// Whether nodes are judged at all, although there is only one.
    pub(super) fn is_stamped(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|k| k.index.is_none())
    }

    /// Whether the node at `index` may be asked. A genesis that it does not tell speaks neither
    /// for nor against it.
    ///
    /// # Errors
    /// It is of another network: why it is not asked, in words.
    pub(super) fn admit(
        &self,
        index: usize,
        shown: &str,
        genesis: Option<String>,
    ) -> Result<(), String> {
        let Some(genesis) = genesis else {
            return Ok(());
        };
        let mut known = self.0.lock();
        match judge(known.as_ref(), index, &genesis) {
            Verdict::Ours => {}
            Verdict::Founds => {
                if let Some(before) = known.as_ref().filter(|k| k.genesis != genesis) {
                    tracing::error!(
                        node = shown,
                        other = before.shown,
                        hint = "correct Common.API.Chain and ChainFallbacks: all must be of one network",
                        "the node is of another network than the one that was asked before; the first one in the config counts"
                    );
                }
                *known = Some(Known {
                    index: Some(index),
                    shown: shown.to_owned(),
                    genesis,
                });
            }
            Verdict::Foreign => {
                let ours = known.as_ref().map_or("the first", |k| k.shown.as_str());
                return Err(format!(
                    "{shown} is of another network than {ours}, their geneses differ; correct Common.API Chain or ChainFallbacks"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_the_order_counts() {
        let known = |index| Known {
            index,
            shown: "a".into(),
            genesis: "one".into(),
        };
        assert_eq!(judge(None, 1, "two"), Verdict::Founds);
        for index in 0..3 {
            for who in [Some(1), None] {
                assert_eq!(judge(Some(&known(who)), index, "one"), Verdict::Ours);
            }
            let stamped = judge(Some(&known(None)), index, "two");
            assert_eq!(stamped, Verdict::Foreign, "the database has the last word");
        }
        for (index, verdict) in [
            (0, Verdict::Founds),
            (1, Verdict::Founds),
            (2, Verdict::Foreign),
        ] {
            assert_eq!(
                judge(Some(&known(Some(1))), index, "two"),
                verdict,
                "{index}"
            );
        }
    }
}
