//! How often tokens from one address were wrong. Too often within a minute, and what comes from
//! there is not looked at any more until the minute is over; a token that was right before still
//! is, so that nobody is locked out by a neighbour with the same address.

use crate::net;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

/// What is counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Wrong tokens from one address in that time; from this host, where a person tries things.
const ELSEWHERE: u32 = 20;
const HERE: u32 = 200;
/// Addresses, and right tokens, that are remembered.
const ADDRESSES: usize = 4096;
const TOKENS: usize = 4096;

type Hash = [u8; 32];

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    failed: u32,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<IpAddr, Count>,
    right: HashSet<Hash>,
    /// The same, first come first.
    order: VecDeque<Hash>,
}

/// The counts of one door.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<State>);

fn most(peer: IpAddr) -> u32 {
    if peer.is_loopback() { HERE } else { ELSEWHERE }
}

impl Failures {
    /// Whether a token from there is not to be looked at now.
    pub(super) fn blocks(&self, peer: IpAddr, token: &str, now: Instant) -> bool {
        let state = self.0.lock();
        let Some(count) = state.counts.get(&net::network(peer)) else {
            return false;
        };
        let over = now.saturating_duration_since(count.since) >= WINDOW;
        !over && count.failed >= most(peer) && !state.right.contains(&hash(token))
    }

    /// A token was right.
    pub(super) fn right(&self, token: &str) {
        let hash = hash(token);
        let mut state = self.0.lock();
        if state.right.insert(hash) {
            state.order.push_back(hash);
        }
        while state.order.len() > TOKENS {
            if let Some(first) = state.order.pop_front() {
                state.right.remove(&first);
            }
        }
    }

    /// A token was wrong. Whether no more of them are looked at from now on.
    pub(super) fn wrong(&self, peer: IpAddr, now: Instant) -> bool {
        let key = net::network(peer);
        let mut state = self.0.lock();
        let counts = &mut state.counts;
        if counts.len() >= ADDRESSES && !counts.contains_key(&key) {
            counts.retain(|_, c| now.saturating_duration_since(c.since) < WINDOW);
            let oldest = counts.iter().min_by_key(|(_, c)| c.since).map(|(k, _)| *k);
            if counts.len() >= ADDRESSES
                && let Some(oldest) = oldest
            {
                counts.remove(&oldest);
            }
        }
        let fresh = Count {
            since: now,
            failed: 0,
        };
        let count = counts.entry(key).or_insert(fresh);
        if now.saturating_duration_since(count.since) >= WINDOW {
            *count = fresh;
        }
        count.failed += 1;
        count.failed == most(peer)
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_blocked_for_the_rest_of_a_minute_and_the_known_pass() {
        let failures = Failures::default();
        let begin = Instant::now();
        for (peer, most) in [("10.0.0.1", ELSEWHERE), ("127.0.0.1", HERE)] {
            let peer = ip(peer);
            failures.right("known");
            for n in 1..=most {
                assert!(!failures.blocks(peer, "guess", begin), "{n}");
                assert_eq!(failures.wrong(peer, begin), n == most, "it is said once");
            }
            assert!(!failures.wrong(peer, begin));
            assert!(failures.blocks(peer, "guess", begin + WINDOW / 2));
            assert!(!failures.blocks(peer, "known", begin + WINDOW / 2));
            assert!(!failures.blocks(peer, "guess", begin + WINDOW));
        }
        assert!(!failures.blocks(ip("10.0.0.2"), "guess", begin));
        // 2^64 addresses of one subscriber are one
        for n in 0..ELSEWHERE {
            failures.wrong(ip(&format!("2001:db8::{n:x}")), begin);
        }
        assert!(failures.blocks(ip("2001:db8::ffff"), "guess", begin));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::default();
        let begin = Instant::now();
        for n in 0..ADDRESSES as u32 + 100 {
            let peer = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            failures.wrong(peer, begin + Duration::from_micros(n.into()));
            failures.right(&n.to_string());
        }
        let state = failures.0.lock();
        assert_eq!(state.counts.len(), ADDRESSES);
        assert_eq!((state.right.len(), state.order.len()), (TOKENS, TOKENS));
    }
}
