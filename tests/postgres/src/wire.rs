//! A wire between a client and a server that can be cut and mended.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Listens on a port of its own and carries what comes to a server on this host, as long as it
/// is whole.
#[derive(Clone, Debug)]
pub struct Wire {
    port: u16,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// A wire to that port. Its threads end with the process.
    pub fn to(server: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let wire = Self {
            port: listener.local_addr()?.port(),
            cut: Arc::default(),
            open: Arc::default(),
        };
        let carrier = wire.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // who calls over a cut wire hears nothing, and is let go
                if !carrier.cut.load(Ordering::Acquire)
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", server))
                {
                    carrier.carry(client, server);
                }
            }
        });
        Ok(wire)
    }

    /// Where the client calls.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing comes through any more; what is open is closed.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for end in open.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// It is whole again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::Release);
    }

    fn carry(&self, client: TcpStream, server: TcpStream) {
        let ends = [(&client, &server), (&server, &client)];
        for (from, to) in ends {
            let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
                return;
            };
            thread::spawn(move || {
                let mut buffer = [0; 16 << 10];
                while let Ok(n @ 1..) = from.read(&mut buffer)
                    && to.write_all(&buffer[..n]).is_ok()
                {}
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([client, server]);
    }
}
