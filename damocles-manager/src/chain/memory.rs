//! What was said of tipsets that were named. The state of a tipset never changes: whatever room
//! asks for it again, at the same head, for the same miner, costs the node nothing.

use damocles_node::TipSetKey;
use parking_lot::Mutex;
use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// The head, the tipsets that lie deep enough below it, and those of a branch that was left.
const TIPSETS: usize = 8;
/// Of each: some questions for each of a few hundred miners.
const ANSWERS: usize = 2048;

#[derive(Default)]
pub(super) struct Memory(Mutex<VecDeque<Told>>);

/// What was said of one tipset, by method and parameters.
struct Told {
    tipset: TipSetKey,
    answers: HashMap<String, Arc<dyn Any + Send + Sync>>,
}

impl Memory {
    /// What was answered to that question. The head of now is not a name: it moves.
    pub(super) fn recall<T: Clone + 'static>(
        &self,
        tipset: &TipSetKey,
        question: &str,
    ) -> Option<T> {
        let all = self.0.lock();
        let told = all.iter().find(|told| told.tipset == *tipset)?;
        told.answers.get(question)?.downcast_ref().cloned()
    }

    pub(super) fn keep<T: Send + Sync + 'static>(
        &self,
        tipset: &TipSetKey,
        question: String,
        answer: T,
    ) {
        if tipset.is_head() {
            return;
        }
        let mut all = self.0.lock();
        if !all.iter().any(|told| told.tipset == *tipset) {
            if all.len() == TIPSETS {
                all.pop_front();
            }
            all.push_back(Told {
                tipset: tipset.clone(),
                answers: HashMap::new(),
            });
        }
        let told = all.iter_mut().find(|told| told.tipset == *tipset);
        if let Some(told) = told.filter(|told| told.answers.len() < ANSWERS) {
            told.answers.insert(question, Arc::new(answer));
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory of {} tipsets", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_node::message::chain_cid;

    fn tipset(number: usize) -> TipSetKey {
        chain_cid(&number.to_be_bytes()).into()
    }

    #[test]
    fn the_oldest_tipset_is_forgotten_and_the_head_is_none() {
        let memory = Memory::default();
        for number in 0..=TIPSETS {
            memory.keep(&tipset(number), "how many".into(), number);
        }
        let told = |of: &TipSetKey| memory.recall::<usize>(of, "how many");
        assert_eq!(told(&tipset(0)), None);
        assert_eq!(told(&tipset(1)), Some(1));
        assert_eq!(told(&tipset(TIPSETS)), Some(TIPSETS));
        assert_eq!(memory.recall::<usize>(&tipset(1), "how long"), None);
        memory.keep(&TipSetKey::HEAD, "how many".into(), 7_usize);
        assert_eq!(told(&TipSetKey::HEAD), None);
    }

    #[test]
    fn of_one_tipset_only_so_much_is_kept() {
        let memory = Memory::default();
        for question in 0..=ANSWERS {
            memory.keep(&tipset(1), question.to_string(), ());
        }
        assert_eq!(memory.recall(&tipset(1), "0"), Some(()));
        assert_eq!(memory.recall::<()>(&tipset(1), &ANSWERS.to_string()), None);
    }
}
