//! Addresses for tests: nobody listens there until the test has somebody listen, and nobody else
//! gets them meanwhile.
//!
//! A port that was tried and let go again may be taken by any other test before it is used. So
//! the socket stays: bound, but not listening, and until the process ends. While it was bound
//! it would share with nobody, so that two askers never get one port, be they in one process or
//! in two; since then it shares with whoever asks for it by SO_REUSEADDR, as every server does.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    iter,
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
};
use tokio::net::TcpSocket;

/// What holds the addresses that were given.
static GIVEN: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// An address of this machine that is given to nobody else, and to whose port the system starts
/// no connection (those are higher).
///
/// # Panics
/// When ten thousand ports are taken.
pub fn address() -> SocketAddr {
    let any = || 20_000 + (RandomState::new().build_hasher().finish() % 10_000) as u16;
    let mut ports = iter::repeat_with(any).take(10_000);
    ports.find_map(reserve).expect("a free port")
}

/// The port of such an address.
///
/// # Panics
/// As [`address`].
pub fn port() -> u16 {
    address().port()
}

fn reserve(port: u16) -> Option<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(address).ok()?;
    socket.set_reuseaddr(true).ok()?;
    GIVEN.lock().unwrap().push(socket);
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeSet,
        net::{TcpListener, TcpStream},
        thread,
    };

    #[test]
    fn no_address_is_given_twice_and_each_can_be_listened_at_again_and_again() {
        let ask = || (0..100).map(|_| address()).collect::<Vec<_>>();
        let given: Vec<_> = thread::scope(|scope| {
            let askers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            askers.into_iter().flat_map(|a| a.join().unwrap()).collect()
        });
        let different: BTreeSet<_> = given.iter().collect();
        assert_eq!(different.len(), given.len());

        let here = given[0];
        for _ in 0..2 {
            assert!(TcpStream::connect(here).is_err(), "nobody listens");
            let listener = TcpListener::bind(here).unwrap();
            assert!(TcpStream::connect(here).is_ok());
            assert!(reserve(here.port()).is_none(), "it is in use");
            drop(listener);
        }
        assert!(reserve(here.port()).is_none(), "it is given");
    }
}
