//! The row of those whose commit waits for its turn, and who leads.

use super::{
    landing::Landing,
    sql::Fault,
    wish::{Statement, Wish},
};
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, mem, sync::Arc};

/// Statements on their way at a time: one is written while another one is synced.
const LEADERS: usize = 3;
/// So many of those who wait are looked at for company.
const LOOKED_AT: usize = 512;

/// Takes out of the row who can go with the first.
fn company(first: &Wish, row: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut chosen = Vec::new();
    let mut statement = Statement::of(first);
    for (at, other) in row.iter().enumerate().take(LOOKED_AT) {
        if statement.takes(&other.wish) {
            chosen.push(at);
        }
    }
    // from the end, so that the places before it stay what they are
    let places = chosen.into_iter().rev();
    places.filter_map(|at| row.remove(at)).collect()
}

/// Who waits, and for what.
pub(super) struct Waiting {
    pub(super) wish: Wish,
    pub(super) seat: Arc<Seat>,
}

/// Where one waits.
#[derive(Default)]
pub(super) struct Seat {
    turn: Mutex<Option<Turn>>,
    told: Condvar,
}

/// What one waits for.
pub(super) enum Turn {
    /// It is his turn to lead.
    Lead(Wish),
    /// Another one had it along.
    Done(Landing),
}

impl Seat {
    fn tell(&self, turn: Turn) {
        *self.turn.lock() = Some(turn);
        self.told.notify_one();
    }

    pub(super) fn wait(&self) -> Turn {
        let mut turn = self.turn.lock();
        loop {
            match turn.take() {
                Some(turn) => return turn,
                None => self.told.wait(&mut turn),
            }
        }
    }
}

/// Those whose commit waits for its turn.
#[derive(Default)]
pub(super) struct Row(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    leaders: usize,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.0.lock();
        f.debug_struct("Row")
            .field("waiting", &inner.waiting.len())
            .field("leaders", &inner.leaders)
            .finish()
    }
}

impl Row {
    /// What is to be led now, or the seat to wait on.
    pub(super) fn enter(&self, wish: Wish) -> Result<Wish, Arc<Seat>> {
        let mut inner = self.0.lock();
        if inner.leaders < LEADERS {
            inner.leaders += 1;
            return Ok(wish);
        }
        let seat = Arc::<Seat>::default();
        inner.waiting.push_back(Waiting {
            wish,
            seat: seat.clone(),
        });
        Err(seat)
    }

    /// Who goes with a leader now.
    pub(super) fn company(&self, first: &Wish) -> Vec<Waiting> {
        company(first, &mut self.0.lock().waiting)
    }

    /// Everybody hears the same.
    pub(super) fn send_away(&self, fault: &Fault) {
        let waiting = mem::take(&mut self.0.lock().waiting);
        for one in waiting {
            one.seat.tell(Turn::Done(Landing::Not(fault.clone())));
        }
    }
}

/// While it lives, its owner leads; then another one does.
pub(super) struct Lead<'a>(pub(super) &'a Row);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.0.lock();
        match inner.waiting.pop_front() {
            Some(next) => next.seat.tell(Turn::Lead(next.wish)),
            None => inner.leaders -= 1,
        }
    }
}

/// Who went with a leader, and hears what became of it also when the leader panics.
pub(super) struct Companions(pub(super) Vec<Arc<Seat>>);

impl Companions {
    pub(super) fn tell(mut self, landings: impl IntoIterator<Item = Landing>) {
        let seats = mem::take(&mut self.0);
        for (seat, landing) in seats.into_iter().zip(landings) {
            seat.tell(Turn::Done(landing));
        }
    }
}

impl Drop for Companions {
    fn drop(&mut self) {
        for seat in mem::take(&mut self.0) {
            let reason = "the thread that wrote it broke off".to_owned();
            seat.tell(Turn::Done(Landing::Unknown { reason }));
        }
    }
}
