//! A prover that takes longer than it should: a disk that began to hang after its sectors were
//! found holds it, and with it every other sector of the proof, until the deadline has closed. So
//! while it goes on, the sectors are read each by itself; what does not answer is taken out, and
//! the others are proven without. Where all can be read, and it takes far longer than ever, it is
//! given up once for another one: a device or a driver may hang as well. What waits for its turn is
//! not doubted, and an attempt is not for the time that one before it took.

use crate::{
    db::posts::PostRecord,
    post::{
        context::Context,
        prover::{Order, ProveError},
        schedule::{doubt_again, doubt_at, fits, hangs},
        sectors::{Sorted, look_until},
    },
};
use damocles_processor::task::{WindowPost, WindowPostOutput};
use damocles_types::Epoch;
use tokio::sync::watch;

/// What came of a task.
pub(super) enum Answer {
    /// `epochs`: how long it took, not counting how long it waited for its turn.
    Says {
        output: WindowPostOutput,
        epochs: Option<Epoch>,
    },
    /// It is given up, as sectors hold it that cannot be read any more.
    Held,
    /// It is given up, as it hangs for no sector.
    Hangs,
}

impl Context {
    /// What the prover says of a task over sectors of `sorted`, which knows afterwards what holds it.
    /// `usual`: epochs that a proof takes, if that is known. One that hangs for no sector is only
    /// given up where it is the `first`: the next one may be slow for a good reason.
    pub(super) async fn answer(
        &self,
        task: WindowPost,
        record: &PostRecord,
        (usual, first): (Option<Epoch>, bool),
        sorted: &mut Sorted,
    ) -> Result<Answer, ProveError> {
        let (proof_type, seed) = (task.proof_type, task.seed);
        let places = task.replicas.iter().filter_map(|replica| {
            let found = sorted.found.get(&replica.sector_id)?;
            Some((replica.sector_id, found.place()))
        });
        let order = Order {
            deadline: record.deadline,
            partitions: record.partitions.clone(),
            open: record.key.open,
            close: record.close,
            usual,
            again: !first,
            places: places.collect(),
            task,
        };
        let (begun, mut begins) = watch::channel(0);
        let proving = self.parts.prover.carry_out(order, begun);
        tokio::pin!(proving);
        let mut since = self.height();
        let says = |since: Option<Epoch>| {
            let epochs = since.zip(self.height()).map(|(from, to)| to - from + 1);
            move |output| Answer::Says { output, epochs }
        };
        tokio::select! {
            Ok(()) = begins.changed() => since = self.height(),
            output = &mut proving => {
                // it may have begun and ended between two looks
                if *begins.borrow() > 0 {
                    since = self.height();
                }
                return output.map(says(since));
            }
        }
        let mut began = since.unwrap_or(record.challenge);
        let mut doubt = doubt_at(began, record.close, usual);
        loop {
            tokio::select! {
                biased;
                output = &mut proving => return output.map(says(since)),
                Ok(()) = begins.changed() => {
                    // another one is at it now, who knows nothing of the one before
                    since = self.height();
                    began = since.unwrap_or(began);
                    doubt = doubt_at(began, record.close, usual);
                    continue;
                }
                () = self.reached(doubt) => {}
            }
            // heads jump where the node was away
            let now = self.height().unwrap_or(doubt).max(doubt);
            // to end it would end the others with it
            if self.parts.prover.proofs_share_a_process() {
                doubt = doubt_again(began, now);
                continue;
            }
            // a proof that comes meanwhile covers all of them
            let mut looked = sorted.clone();
            let until = look_until(record.key.open, record.close, now);
            tokio::select! {
                output = &mut proving => return output.map(says(since)),
                () = self.read(proof_type, seed, &mut looked, until) => {}
            }
            let now = self.height().unwrap_or(now).max(now);
            if looked.found.len() < sorted.found.len() && fits(now, record.close, usual) {
                tracing::warn!(
                    miner = self.actor,
                    deadline = record.deadline,
                    open = record.key.open,
                    epochs = now - began,
                    unread = sorted.found.len() - looked.found.len(),
                    "a WindowPoSt takes long and sectors of it cannot be read; proving without them"
                );
                *sorted = looked;
                return Ok(Answer::Held);
            }
            if begins.has_changed().unwrap_or(false) {
                continue;
            }
            if first && hangs(began, now, (record.key.open, record.close), usual) {
                tracing::warn!(
                    miner = self.actor,
                    deadline = record.deadline,
                    open = record.key.open,
                    epochs = now - began,
                    "a WindowPoSt takes far longer than any did lately, although its sectors can be read; its prover is given up for another one"
                );
                return Ok(Answer::Hangs);
            }
            doubt = doubt_again(began, now);
        }
    }
}
