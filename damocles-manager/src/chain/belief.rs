//! Which node's head is believed: one that is young, and not behind the others'. A node that
//! syncs answers everything, from a past in which sectors, messages and deadlines are not there.
//! Pure.

use damocles_types::Epoch;
use std::time::Duration;

/// A node whose head lies so many epochs below another's is behind; less is what blocks take to
/// get around.
const LAG: Epoch = 5;

/// A head as a node told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) height: Epoch,
    /// Unix seconds of its blocks.
    pub(super) timestamp: u64,
}

impl Sight {
    pub(super) fn age(self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.timestamp))
    }

    /// Why it is not believed, if it is too old. None as the limit: it is not judged.
    fn too_old(self, now: u64, max_age: Option<Duration>) -> Option<String> {
        let age = self.age(now);
        (age > max_age?).then(|| {
            format!(
                "its head, of epoch {}, is {} old, so it is syncing or cut off from the network",
                self.height,
                in_words(age)
            )
        })
    }
}

/// Why nodes are not believed: their head is old, or behind the best of the young ones. None for
/// one that is believed, and for one that did not answer.
pub(super) fn doubts(
    nodes: &[Option<Sight>],
    now: u64,
    max_age: Option<Duration>,
) -> Vec<Option<String>> {
    let old = |sight: Sight| sight.too_old(now, max_age);
    let young = nodes.iter().flatten().filter(|s| old(**s).is_none());
    let best = young.map(|s| s.height).max();
    let doubt = |node: &Option<Sight>| {
        let sight = (*node)?;
        old(sight).or_else(|| {
            let best = best.filter(|best| best - sight.height > LAG)?;
            let height = sight.height;
            Some(format!(
                "its head is of epoch {height}, and another node's of {best}"
            ))
        })
    };
    nodes.iter().map(doubt).collect()
}

/// A duration for people.
fn in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..=179 => format!("{seconds} s"),
        180..=10_799 => format!("{} minutes", seconds / 60),
        10_800..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_young_node_that_is_not_behind_is_asked() {
        let choose = |nodes: &[Option<Sight>], now, max_age| {
            let doubts = doubts(nodes, now, max_age);
            (0..nodes.len()).find(|i| nodes[*i].is_some() && doubts[*i].is_none())
        };
        let now = 1_000_000;
        let at = |height: Epoch, age: u64| {
            Some(Sight {
                height,
                timestamp: now - age,
            })
        };
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        for (nodes, max_age, want) in [
            (vec![at(100, 30)], minutes(5), Some(0)),
            (vec![at(100, 301)], minutes(5), None),
            (vec![at(100, 301)], None, Some(0)),
            // the first is gone, and the second is syncing
            (vec![None, at(0, 90_000)], minutes(5), None),
            (vec![None, at(0, 90_000)], None, Some(1)),
            (vec![None, at(100, 10), at(101, 10)], minutes(5), Some(1)),
            // the first is back
            (vec![at(101, 10), at(101, 10)], minutes(5), Some(0)),
            // it is back, and behind
            (vec![at(90, 200), at(101, 10)], minutes(5), Some(1)),
            (vec![at(96, 200), at(101, 10)], minutes(5), Some(0)),
            (vec![at(90, 200), at(101, 10)], None, Some(1)),
            (vec![None, None], minutes(5), None),
            (vec![], minutes(5), None),
        ] {
            assert_eq!(choose(&nodes, now, max_age), want, "{nodes:?} {max_age:?}");
        }
    }

    #[test]
    fn an_old_head_says_how_old() {
        let sight = Sight {
            height: 7,
            timestamp: 1000,
        };
        let limit = Some(Duration::from_secs(300));
        assert_eq!(sight.too_old(1300, limit), None);
        assert_eq!(sight.too_old(0, limit), None, "a clock behind the chain's");
        for (now, words) in [
            (1301, "5 minutes"),
            (1000 + 7 * 3600, "7 hours"),
            (1000 + 9 * 86_400, "9 days"),
        ] {
            let why = sight.too_old(now, limit).unwrap();
            assert!(why.contains("epoch 7") && why.contains(words), "{why}");
        }
    }
}
