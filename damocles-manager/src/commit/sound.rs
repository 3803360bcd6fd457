//! One sector that the chain does not take makes a whole message fail. Before several go together
//! they are tried on the state of now; where the actor says no, halves are tried, until those are
//! known that are the cause: they go alone, and the others are not held up.

use crate::{
    commit::{Commit, CommitError, part::Part},
    messages::{DryRun, Intent},
};

/// Parts that may go together, and those that may not with what the actor says of each.
pub(super) struct Sorted<P> {
    pub(super) good: Vec<Part<P>>,
    pub(super) bad: Vec<(Part<P>, String)>,
    /// What the good ones take together, if they were tried so.
    pub(super) gas: Option<i64>,
}

impl Commit {
    /// Sorts the parts of a message. If each of them is refused, the cause lies elsewhere, and they
    /// are left together.
    pub(super) async fn sorted<P: Clone + Send>(
        &self,
        parts: Vec<Part<P>>,
        to_intent: impl Fn(Vec<Part<P>>) -> Result<Intent, CommitError>,
    ) -> Result<Sorted<P>, CommitError> {
        let all_good = |good, gas| {
            let bad = Vec::new();
            Ok(Sorted { good, bad, gas })
        };
        if parts.len() < 2 {
            return all_good(parts, None);
        }
        let all = parts.clone();
        let mut sorted = Sorted {
            good: Vec::new(),
            bad: Vec::new(),
            gas: None,
        };
        let mut untried = vec![parts];
        while let Some(mut some) = untried.pop() {
            match self.engine.dry_run(&to_intent(some.clone())?).await? {
                DryRun::Takes { gas } if some.len() == all.len() => {
                    return all_good(some, Some(gas));
                }
                DryRun::Takes { .. } | DryRun::Unknown(_) => sorted.good.append(&mut some),
                DryRun::Refuses(why) if some.len() == 1 => {
                    sorted
                        .bad
                        .extend(some.into_iter().map(|part| (part, why.clone())));
                }
                DryRun::Refuses(_) => {
                    let rest = some.split_off(some.len() / 2);
                    // the first half next, so that the order stays
                    untried.extend([rest, some]);
                }
            }
        }
        if sorted.good.is_empty() {
            return all_good(all, None);
        }
        Ok(sorted)
    }
}
