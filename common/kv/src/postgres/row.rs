//! A row of those who want something of the server, and who leads: whoever finds the way free does,
//! and takes along who waits and can go with him. So the busier it is, the more go at a time; and
//! who comes alone waits for nobody.

use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, mem, sync::Arc};

/// So many of those who wait are looked at for company.
const LOOKED_AT: usize = 512;

/// What one hears in the end.
pub(super) trait Told {
    /// Whoever had it along panicked.
    fn broken_off() -> Self;
}

/// Who waits, and for what.
pub(super) struct Waiting<W, T> {
    pub(super) wish: W,
    pub(super) seat: Arc<Seat<W, T>>,
}

/// Where one waits.
pub(super) struct Seat<W, T> {
    turn: Mutex<Option<Turn<W, T>>>,
    told: Condvar,
}

/// What one waits for.
pub(super) enum Turn<W, T> {
    /// It is his turn to lead.
    Lead(W),
    /// Another one had it along.
    Done(T),
}

impl<W, T> Seat<W, T> {
    fn new() -> Self {
        Self {
            turn: Mutex::new(None),
            told: Condvar::new(),
        }
    }

    fn tell(&self, turn: Turn<W, T>) {
        *self.turn.lock() = Some(turn);
        self.told.notify_one();
    }

    fn wait(&self) -> Turn<W, T> {
        let mut turn = self.turn.lock();
        loop {
            match turn.take() {
                Some(turn) => return turn,
                None => self.told.wait(&mut turn),
            }
        }
    }
}

pub(super) struct Row<W, T> {
    /// How many lead at a time, at most.
    most: usize,
    inner: Mutex<Inner<W, T>>,
}

struct Inner<W, T> {
    waiting: VecDeque<Waiting<W, T>>,
    leaders: usize,
}

impl<W, T> std::fmt::Debug for Row<W, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Row")
            .field("waiting", &inner.waiting.len())
            .field("leaders", &inner.leaders)
            .finish_non_exhaustive()
    }
}

impl<W, T> Row<W, T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            inner: Mutex::new(Inner {
                waiting: VecDeque::new(),
                leaders: 0,
            }),
        }
    }

    /// Waits for his turn to lead, and leads; or hears from another one who had it along.
    pub(super) fn go(&self, wish: W, lead: impl FnOnce(W, Lead<'_, W, T>) -> T) -> T {
        let wish = match self.enter(wish) {
            Ok(wish) => wish,
            Err(seat) => match seat.wait() {
                Turn::Lead(wish) => wish,
                Turn::Done(told) => return told,
            },
        };
        lead(wish, Lead(self))
    }

    /// What is to be led now, or the seat to wait on.
    fn enter(&self, wish: W) -> Result<W, Arc<Seat<W, T>>> {
        let mut inner = self.inner.lock();
        if inner.leaders < self.most {
            inner.leaders += 1;
            return Ok(wish);
        }
        let seat = Arc::new(Seat::new());
        inner.waiting.push_back(Waiting {
            wish,
            seat: seat.clone(),
        });
        Err(seat)
    }
}

/// While it lives, its owner leads; then another one does.
pub(super) struct Lead<'a, W, T>(&'a Row<W, T>);

impl<W, T: Told> Lead<'_, W, T> {
    /// Takes those along whose places are chosen, counted from the front.
    pub(super) fn company(
        &self,
        choose: impl FnOnce(&mut dyn Iterator<Item = &W>) -> Vec<usize>,
    ) -> (Vec<W>, Companions<W, T>) {
        let row = &mut self.0.inner.lock().waiting;
        let chosen = choose(&mut row.iter().take(LOOKED_AT).map(|waiting| &waiting.wish));
        // from the end, so that the places before it stay what they are
        let places = chosen.into_iter().rev();
        let taken = places.filter_map(|at| row.remove(at));
        let (wishes, seats) = taken.map(|waiting| (waiting.wish, waiting.seat)).unzip();
        (wishes, Companions(seats))
    }

    /// Everybody who waits hears the same.
    pub(super) fn send_away(&self, told: impl Fn() -> T) {
        let waiting = mem::take(&mut self.0.inner.lock().waiting);
        for one in waiting {
            one.seat.tell(Turn::Done(told()));
        }
    }
}

impl<W, T> Drop for Lead<'_, W, T> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        match inner.waiting.pop_front() {
            Some(next) => next.seat.tell(Turn::Lead(next.wish)),
            None => inner.leaders -= 1,
        }
    }
}

/// Who went with a leader, and hears what became of it also when the leader panics.
pub(super) struct Companions<W, T: Told>(Vec<Arc<Seat<W, T>>>);

impl<W, T: Told> Companions<W, T> {
    /// In the order of their wishes.
    pub(super) fn tell(mut self, told: impl IntoIterator<Item = T>) {
        let mut told = told.into_iter();
        // those for whom nothing is left are told below
        while let (false, Some(told)) = (self.0.is_empty(), told.next()) {
            self.0.remove(0).tell(Turn::Done(told));
        }
    }
}

impl<W, T: Told> Drop for Companions<W, T> {
    fn drop(&mut self) {
        for seat in mem::take(&mut self.0) {
            seat.tell(Turn::Done(T::broken_off()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Heard {
        Led(Vec<u32>),
        Had(u32),
        BrokenOff,
    }

    impl Told for Heard {
        fn broken_off() -> Self {
            Self::BrokenOff
        }
    }

    /// Takes everybody along.
    fn take_all(first: u32, lead: &Lead<'_, u32, Heard>) -> Vec<u32> {
        let (mut wishes, companions) =
            lead.company(|waiting| waiting.enumerate().map(|(at, _)| at).collect());
        companions.tell(
            wishes
                .iter()
                .map(|wish| Heard::Had(*wish))
                .collect::<Vec<_>>(),
        );
        wishes.push(first);
        wishes.sort_unstable();
        wishes
    }

    fn wait_for(row: &Row<u32, Heard>, waiting: usize) {
        while row.inner.lock().waiting.len() < waiting {
            thread::yield_now();
        }
    }

    /// One leads first, and does `then` when it is told that so many wait.
    fn while_one_leads<'s>(
        scope: &'s thread::Scope<'s, '_>,
        row: &'s Row<u32, Heard>,
        then: impl FnOnce(Lead<'_, u32, Heard>) -> Heard + Send + 's,
    ) -> (thread::ScopedJoinHandle<'s, Heard>, mpsc::Sender<()>) {
        let (go, gone) = mpsc::channel::<()>();
        let (leads, led) = mpsc::channel::<()>();
        let first = scope.spawn(move || {
            row.go(0, |_, lead| {
                leads.send(()).unwrap();
                gone.recv().unwrap();
                then(lead)
            })
        });
        led.recv().unwrap();
        (first, go)
    }

    #[test]
    fn those_who_come_meanwhile_go_together() {
        let row = Row::new(1);
        thread::scope(|scope| {
            let (first, go) = while_one_leads(scope, &row, |_| Heard::Led(vec![0]));
            let row = &row;
            let lead = move |n| row.go(n, |wish, lead| Heard::Led(take_all(wish, &lead)));
            let others: Vec<_> = (1..=5).map(|n| scope.spawn(move || lead(n))).collect();
            wait_for(row, 5);
            go.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Heard::Led(vec![0]));
            let mut heard: Vec<_> = others.into_iter().map(|t| t.join().unwrap()).collect();
            heard.sort();
            assert_eq!(heard[0], Heard::Led(vec![1, 2, 3, 4, 5]));
            assert!(heard[1..].iter().all(|h| matches!(h, Heard::Had(_))));
        });
        let inner = row.inner.lock();
        assert_eq!((inner.waiting.len(), inner.leaders), (0, 0));
    }

    #[test]
    fn whoever_goes_with_one_that_panics_hears_of_it_and_the_row_goes_on() {
        let row = Row::new(1);
        thread::scope(|scope| {
            let (first, go) = while_one_leads(scope, &row, |lead| {
                let (_, _companions) = lead.company(|_| vec![0]);
                panic!("for the test");
            });
            let companion = scope.spawn(|| row.go(1, |_, _| Heard::Led(Vec::new())));
            wait_for(&row, 1);
            let next = scope.spawn(|| row.go(2, |wish, _| Heard::Led(vec![wish])));
            wait_for(&row, 2);
            go.send(()).unwrap();
            assert!(first.join().is_err());
            assert_eq!(companion.join().unwrap(), Heard::BrokenOff);
            assert_eq!(next.join().unwrap(), Heard::Led(vec![2]));
        });
    }

    #[test]
    fn all_are_sent_away_together() {
        let row = Row::new(1);
        thread::scope(|scope| {
            let (first, go) = while_one_leads(scope, &row, |lead| {
                lead.send_away(|| Heard::Had(9));
                Heard::Had(9)
            });
            let other = scope.spawn(|| row.go(1, |wish, _| Heard::Led(vec![wish])));
            wait_for(&row, 1);
            go.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Heard::Had(9));
            assert_eq!(other.join().unwrap(), Heard::Had(9));
        });
    }
}
