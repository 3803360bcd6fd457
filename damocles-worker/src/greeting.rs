//! The first words with the manager: whether it is there, knows the attached stores, and lets
//! this worker do more than look.

use crate::{
    manager::{CallError, Manager},
    ping::Identity,
    rpc::Seat,
    stores::AttachedStores,
};
use damocles_daemon::{
    exit::{Exit, Fatal},
    metrics::Readiness,
    systemd,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two looks whether the manager has come.
const LOOK: Duration = Duration::from_secs(2);
/// What a worker without rights is told.
const TOKEN: &str = "put a token of the manager (`damocles-manager util auth create-token --perm write`) into the file of [sector_manager] rpc_client.token_file";

/// Who greets.
#[derive(Debug)]
pub struct Greeter<'a> {
    pub manager: &'a Manager,
    pub attached: &'a AttachedStores,
    pub seats: &'a [Seat],
    pub readiness: &'a Readiness,
    /// Where this worker's RPC listens.
    pub address: SocketAddr,
    /// The name from the config.
    pub name: Option<&'a str>,
}

/// Why the manager was not met.
enum Greeting {
    Fatal(Fatal),
    Later(String),
}

impl Greeter<'_> {
    /// Waits until the manager answers and knows every attached store: who this worker is for
    /// it, and the manager as called by that name. None: told to stop.
    pub async fn meet(
        &self,
        stop: &CancellationToken,
    ) -> Result<Option<(Identity, Manager)>, Fatal> {
        let mut said = String::new();
        loop {
            let waits_for = match self.greet().await {
                Ok(met) => return Ok(Some(met)),
                Err(Greeting::Fatal(fatal)) => return Err(fatal),
                Err(Greeting::Later(reason)) => reason,
            };
            if stop.is_cancelled() {
                return Ok(None);
            }
            if waits_for != said {
                tracing::warn!(
                    hint = "start the manager, or correct rpc_client.addr; this worker goes on waiting",
                    "{waits_for}"
                );
                systemd::status(&waits_for);
                self.readiness.wait_for(waits_for.clone());
                for seat in self.seats {
                    seat.board.idle(waits_for.clone());
                }
                said = waits_for;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn greet(&self) -> Result<(Identity, Manager), Greeting> {
        let ip =
            match self.address.ip() {
                ip if ip.is_unspecified() => local_ip(&self.manager.addr().host_port())
                    .await
                    .map_err(|e| {
                        Greeting::Later(format!(
                            "the manager at {} cannot be reached: {e}",
                            self.manager.addr()
                        ))
                    })?,
                ip => ip,
            };
        let identity = Identity {
            name: self.name.map_or_else(|| ip.to_string(), ToOwned::to_owned),
            dest: SocketAddr::new(ip, self.address.port()),
        };
        let manager = self
            .manager
            .for_another(&identity.name)
            .map_err(|e| Greeting::Later(e.to_string()))?;
        self.check_stores(&manager).await?;
        // a token that only reads is found out now, not when all threads stay idle
        match manager.ping(identity.ping(self.seats)).await {
            Ok(()) => Ok((identity, manager)),
            Err(error) => Err(refused_or_later(error)),
        }
    }

    async fn check_stores(&self, manager: &Manager) -> Result<(), Greeting> {
        for store in self.attached.iter() {
            match manager.store_basic_info(store.name.clone()).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(Greeting::Fatal(
                        Fatal::new(
                            Exit::NotFound,
                            format!("the manager at {} does not know the store {:?}", self.manager.addr(), store.name),
                        )
                        .hint("give the store the same name in the manager's config ([[Common.PersistStores]]) and in this worker's [[attached]]"),
                    ));
                }
                Err(error) => return Err(refused_or_later(error)),
            }
        }
        Ok(())
    }
}

fn refused_or_later(error: CallError) -> Greeting {
    match error {
        CallError::Denied { .. } => Greeting::Fatal(Fatal::new(Exit::Refused, &error).hint(TOKEN)),
        error => Greeting::Later(error.to_string()),
    }
}

/// This machine's address on the way to the manager. Nothing is sent.
async fn local_ip(host_port: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::other("its name has no address");
    for peer in tokio::net::lookup_host(host_port).await? {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let found = async {
            let socket = tokio::net::UdpSocket::bind(any).await?;
            socket.connect(peer).await?;
            socket.local_addr()
        };
        match found.await {
            Ok(address) => return Ok(address.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
