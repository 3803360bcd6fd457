//! A few connections that transactions share: each has one for itself while it runs.

use super::{
    connection::{Connection, Driver},
    question::Question,
    sql::Fault,
};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// For one to become free.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) driver: Driver,
    most: usize,
    places: Mutex<Places>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Places {
    idle: Vec<Connection>,
    /// Idle ones and those that are lent.
    open: usize,
}

/// The place of a connection that is lent. It becomes free with it, unless the connection is
/// kept: whoever panics does not know in which state it is.
struct Place<'a> {
    pool: &'a Pool,
    kept: bool,
}

/// What becomes of a connection that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is as it was.
    Keep,
    Close,
    /// The database is gone, or was: idle ones are no good either.
    CloseAll,
}

impl Then {
    pub(super) fn after(fault: &Fault) -> Self {
        match fault {
            Fault::Lost(_) => Self::CloseAll,
            Fault::Conflict | Fault::Refused(_) => Self::Keep,
        }
    }
}

impl Pool {
    pub(super) fn new(driver: Driver, most: usize) -> Self {
        Self {
            driver,
            most: most.max(1),
            places: Mutex::new(Places::default()),
            freed: Condvar::new(),
        }
    }

    /// Runs something with a connection of its own.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> (T, Then),
    ) -> Result<T, Fault> {
        let mut connection = self.take()?;
        let mut place = Place {
            pool: self,
            kept: false,
        };
        let (done, then) = work(&mut connection);
        match then {
            Then::Keep => {
                place.kept = true;
                self.places.lock().idle.push(connection);
                self.freed.notify_one();
            }
            Then::Close => {}
            Then::CloseAll => self.forget_idle(),
        }
        Ok(done)
    }

    fn take(&self) -> Result<Connection, Fault> {
        let until = Instant::now() + PATIENCE;
        let mut places = self.places.lock();
        loop {
            while let Some(connection) = places.idle.pop() {
                if !connection.is_closed() {
                    return Ok(connection);
                }
                places.open -= 1;
            }
            if places.open < self.most {
                places.open += 1;
                break;
            }
            if self.freed.wait_until(&mut places, until).timed_out() {
                let reason = format!("all {} connections are in use", self.most);
                return Err(Fault::Lost(reason));
            }
        }
        drop(places);
        self.driver.connect().inspect_err(|_| self.close(1))
    }

    /// Opens the connections that there may be, each of which has been asked those questions, as
    /// far as that goes now.
    pub(super) fn open_ahead(&self, questions: impl Fn() -> Vec<Question>) {
        while self.place() {
            let made = self.driver.connect().and_then(|connection| {
                let rehearsed = self.driver.rehearse(&connection, questions());
                rehearsed.map(|()| connection)
            });
            match made {
                Ok(connection) => {
                    self.places.lock().idle.push(connection);
                    self.freed.notify_one();
                }
                // whoever wants one tries again, and hears why
                Err(_) => return self.close(1),
            }
        }
    }

    /// Takes a place for one more connection, if there is one.
    fn place(&self) -> bool {
        let mut places = self.places.lock();
        let free = places.open < self.most;
        places.open += usize::from(free);
        free
    }

    fn forget_idle(&self) {
        let idle = std::mem::take(&mut self.places.lock().idle);
        self.close(idle.len());
    }

    fn close(&self, count: usize) {
        self.places.lock().open -= count;
        self.freed.notify_all();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.pool.close(1);
        }
    }
}
