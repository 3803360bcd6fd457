//! Who gets a place at the door. A caller is a *stranger* until it has shown that it may be
//! there; strangers have a share of their own, of which each address has a share again, and a
//! newcomer takes the place of the stranger that has waited longest. So whoever opens
//! connections and says nothing drives out its own like, and nobody else. Those who may be there
//! leave some places to newcomers: when they are too many, the one that idles longest goes, of
//! the address that has the most places. A newcomer from this host has a moment to say what it
//! wants before others from here can push it out again; these wait so long, where the system keeps
//! them in the order in which they came. Who has asked when its place goes to
//! another hears the answer, as long as few others do.

use super::standing::Standing;
use crate::net;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// How long a newcomer from this host may take to its first request, with others at the door.
const MOMENT: Duration = Duration::from_secs(1);

/// How places are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) total: usize,
    /// Of these, kept for callers on this host.
    pub(super) here: usize,
    /// At most so many strangers from other hosts.
    pub(super) strangers: usize,
    /// At most so many strangers from one address.
    pub(super) of_one: usize,
    /// Left to newcomers by those who have shown that they may be here.
    pub(super) spare: usize,
}

impl Shares {
    pub(super) fn of(total: usize) -> Self {
        let strangers = (total / 4).max(1);
        Self {
            total,
            here: total / 8,
            strangers,
            // many workers of one rack may come at once
            of_one: strangers.min(256),
            spare: total / 16,
        }
    }
}

#[derive(Debug)]
struct Guest {
    address: IpAddr,
    here: bool,
    stranger: bool,
    standing: Arc<Standing>,
    leave: CancellationToken,
}

/// The guests, by the order in which they came.
#[derive(Debug, Default)]
struct Guests {
    next: u64,
    present: BTreeMap<u64, Guest>,
}

impl Guests {
    fn count(&self, which: impl Fn(&Guest) -> bool) -> usize {
        self.present.values().filter(|g| which(g)).count()
    }

    /// Shows the stranger out that came first of those; false: there is none.
    fn show_out(&mut self, which: impl Fn(&Guest) -> bool) -> bool {
        let found = self.present.iter().find(|(_, g)| g.stranger && which(g));
        let Some((id, _)) = found else { return false };
        let id = *id;
        self.remove(id);
        true
    }

    fn remove(&mut self, id: u64) {
        if let Some(guest) = self.present.remove(&id) {
            guest.leave.cancel();
        }
    }

    /// Of the trusted among those, shows out the one that has asked nothing for longest, of the
    /// address that has the most places; who is being answered stays. False: there is none.
    fn retire(&mut self, which: impl Fn(&Guest) -> bool) -> bool {
        let mut places: HashMap<IpAddr, usize> = HashMap::new();
        let mut idle = Vec::new();
        for (id, guest) in self.present.iter().filter(|(_, g)| !g.stranger && which(g)) {
            *places.entry(guest.address).or_default() += 1;
            if let Some(time) = guest.standing.idle() {
                idle.push((*id, guest.address, time));
            }
        }
        let longest = idle
            .into_iter()
            .max_by_key(|(_, address, time)| (places.get(address).copied(), *time));
        if let Some((id, ..)) = longest {
            self.remove(id);
        }
        longest.is_some()
    }

    /// A place for somebody from this host, where all are taken: of a stranger that has said
    /// nothing for a moment, of one that may be here and has asked nothing for as long, of any
    /// stranger.
    fn make_room_here(&mut self) -> bool {
        let rests = |g: &Guest| g.standing.idle().is_some_and(|time| time >= MOMENT);
        self.show_out(rests) || self.retire(|g| g.here && rests(g)) || self.show_out(|_| true)
    }
}

/// All places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    shares: Shares,
    guests: Mutex<Guests>,
    /// For those who have lost their place and are still being answered.
    parting: Semaphore,
}

/// Why a newcomer was not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Places {
    pub(super) fn new(shares: Shares) -> Arc<Self> {
        Arc::new(Self {
            shares,
            guests: Mutex::default(),
            parting: Semaphore::new(shares.spare.max(1)),
        })
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a newcomer from this host is to wait before it takes somebody's place: until one of
    /// those who have asked nothing has had its moment. None: it need not wait.
    pub(super) fn moment_left(&self, peer: IpAddr) -> Option<Duration> {
        let guests = self.guests();
        if !peer.to_canonical().is_loopback() || guests.present.len() < self.shares.total {
            return None;
        }
        let silent = guests.present.values().filter(|g| g.stranger || g.here);
        let longest = silent.filter_map(|g| g.standing.idle()).max()?;
        MOMENT.checked_sub(longest).filter(|left| !left.is_zero())
    }

    /// A place for a newcomer; strangers may lose theirs for it.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        let peer = peer.to_canonical();
        let (here, address) = (peer.is_loopback(), net::network(peer));
        let shares = self.shares;
        let mut guests = self.guests();
        let full = if here {
            guests.present.len() >= shares.total && !guests.make_room_here()
        } else {
            let away = |g: &Guest| !g.here;
            let same = |g: &Guest| !g.here && g.address == address;
            if guests.count(|g| g.stranger && same(g)) >= shares.of_one {
                guests.show_out(same);
            } else if guests.count(|g| g.stranger && away(g)) >= shares.strangers {
                guests.show_out(away);
            }
            guests.count(away) >= shares.total - shares.here && !guests.show_out(away)
                || guests.present.len() >= shares.total && !guests.show_out(away)
        };
        if full {
            return Err(Full);
        }
        let id = guests.next;
        guests.next += 1;
        let leave = CancellationToken::new();
        let standing = Arc::new(Standing::new());
        guests.present.insert(
            id,
            Guest {
                address,
                here,
                stranger: true,
                standing: Arc::clone(&standing),
                leave: leave.clone(),
            },
        );
        Ok(Place {
            places: Arc::clone(self),
            id,
            standing,
            leave,
        })
    }

    /// The guest has shown that it may be here.
    pub(super) fn trust(&self, id: u64) {
        let mut guests = self.guests();
        let Some(guest) = guests.present.get_mut(&id) else {
            return;
        };
        guest.stranger = false;
        let here = guest.here;
        let most = self.shares.total - self.shares.spare;
        let away = |g: &Guest| !g.here;
        if !here && guests.count(|g| !g.stranger && away(g)) > most - self.shares.here {
            guests.retire(away);
        } else if guests.count(|g| !g.stranger) > most {
            guests.retire(|_| true);
        }
    }
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    pub(super) id: u64,
    pub(super) standing: Arc<Standing>,
    /// Cancelled when somebody else gets the place.
    pub(super) leave: CancellationToken,
}

impl Place {
    /// Leave to stay until the answer is sent, for one that has asked and lost its place; for a
    /// few at a time.
    pub(super) fn parting(&self) -> Option<SemaphorePermit<'_>> {
        self.places.parting.try_acquire().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.guests().present.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares {
        total: 8,
        here: 2,
        strangers: 4,
        of_one: 2,
        spare: 1,
    };

    /// So many guests from there, all of whom may be here.
    fn trusted(places: &Arc<Places>, count: usize, from: &str) -> Vec<Place> {
        let one = |_| {
            let place = places.enter(ip(from)).unwrap();
            place.standing.trust();
            places.trust(place.id);
            place
        };
        (0..count).map(one).collect()
    }

    fn left(places: &[Place]) -> usize {
        places.iter().filter(|p| !p.leave.is_cancelled()).count()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_opens_many_connections_drives_out_its_own() {
        let places = Places::new(SHARES);
        let quiet = places.enter(ip("10.0.0.1")).unwrap();
        let many: Vec<_> = (0..100)
            .map(|_| places.enter(ip("10.0.0.2")).unwrap())
            .collect();
        let left = many.iter().filter(|p| !p.leave.is_cancelled()).count();
        assert_eq!(left, SHARES.of_one);
        assert!(!quiet.leave.is_cancelled());
        // the same with addresses of one IPv6 network
        let spread: Vec<_> = (0..100)
            .map(|n| places.enter(ip(&format!("2001:db8::{n:x}"))).unwrap())
            .collect();
        let left = spread.iter().filter(|p| !p.leave.is_cancelled()).count();
        assert!(left <= SHARES.of_one, "{left}");
    }

    #[test]
    fn of_many_strangers_the_one_that_waited_longest_goes() {
        let places = Places::new(SHARES);
        let crowd: Vec<_> = (0..10)
            .map(|n| places.enter(ip(&format!("10.0.1.{n}"))).unwrap())
            .collect();
        let gone: Vec<_> = crowd.iter().map(|p| p.leave.is_cancelled()).collect();
        let expected: Vec<_> = (0..10).map(|n| n < 6).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn the_trusted_keep_their_places_and_this_host_has_some_of_its_own() {
        let places = Places::new(SHARES);
        let many = trusted(&places, 5, "10.0.0.9");
        let strangers: Vec<_> = (0..20)
            .map(|n| places.enter(ip(&format!("10.0.2.{n}"))).unwrap())
            .collect();
        assert_eq!((left(&many), left(&strangers)), (5, 1));
        let here = trusted(&places, 2, "127.0.0.1");
        assert_eq!((left(&many), left(&here)), (5, 2));
        assert!(places.enter(ip("::1")).is_ok());
        drop(many);
        assert!(places.enter(ip("10.0.2.1")).is_ok());
    }

    #[test]
    fn of_many_trusted_the_one_that_idles_longest_goes_and_the_others_are_served() {
        let places = Places::new(SHARES);
        let quiet = trusted(&places, 1, "10.0.0.1");
        let mut answered = trusted(&places, 1, "10.0.0.9");
        answered[0].standing.begins_a_call();
        let many = trusted(&places, 100, "10.0.0.9");
        assert_eq!((left(&quiet), left(&answered), left(&many)), (1, 1, 3));
        assert_eq!(left(&many[97..]), 3, "the last ones");
        assert!(places.enter(ip("10.0.0.2")).is_ok());
        // on this host as well, where all have one address
        answered.extend(trusted(&places, 100, "127.0.0.1"));
        assert!(left(&answered) > 1 && places.enter(ip("127.0.0.1")).is_ok());
        assert_eq!(left(&quiet), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_of_this_host_is_not_pushed_out_before_it_has_spoken() {
        let places = Places::new(SHARES);
        let idle = trusted(&places, 7, "127.0.0.1");
        tokio::time::advance(MOMENT).await;
        let newcomers: Vec<_> = (0..4)
            .map(|_| places.enter(ip("127.0.0.1")).unwrap())
            .collect();
        assert_eq!((left(&idle), left(&newcomers)), (4, 4));
        // those who are there and say nothing go first, after a moment
        tokio::time::advance(MOMENT).await;
        let speaks = places.enter(ip("127.0.0.1")).unwrap();
        assert_eq!((left(&idle), left(&newcomers)), (4, 3));
        assert!(newcomers[0].leave.is_cancelled());
        // where nobody idles, the stranger that came first
        let busy = trusted(&places, 20, "127.0.0.1");
        for place in idle.iter().chain(&busy) {
            place.standing.begins_a_call();
        }
        drop(speaks);
        assert!(places.enter(ip("127.0.0.1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_of_this_host_wait_for_each_others_moments() {
        let places = Places::new(SHARES);
        let here = ip("127.0.0.1");
        let enter = |_| {
            assert_eq!(places.moment_left(here), None);
            places.enter(here).unwrap()
        };
        let all: Vec<_> = (0..SHARES.total).map(enter).collect();
        assert_eq!(places.moment_left(here), Some(MOMENT));
        tokio::time::advance(MOMENT / 4).await;
        assert_eq!(places.moment_left(here), Some(MOMENT * 3 / 4));
        assert_eq!(places.moment_left(ip("10.0.0.1")), None);
        // an answer has no end that one could wait for
        all.iter().for_each(|place| place.standing.begins_a_call());
        assert_eq!(places.moment_left(here), None);
        all.iter().for_each(|place| place.standing.ends_a_call());
        tokio::time::advance(MOMENT).await;
        assert_eq!(places.moment_left(here), None);
    }

    #[test]
    fn shares_fit_into_the_total() {
        for total in [1, 2, 64, 512, 4096] {
            let shares = Shares::of(total);
            assert!(shares.here + shares.strangers <= total, "{shares:?}");
            assert!(shares.here + shares.spare < total, "{shares:?}");
            assert!(
                (1..=shares.strangers).contains(&shares.of_one),
                "{shares:?}"
            );
        }
    }
}
