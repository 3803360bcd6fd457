//! JSON-RPC: wire to domain and back, permissions, error codes. No decisions.
//!
//! ```text
//! socket ──► server (token, size) ──► gate (method, parameters, permission, time)
//!       └──► session (WebSocket) ───►
//!                                        ──► sealer · sealer_cli · damocles ──► rooms
//! ```

mod discover;
mod methods;
mod error;
mod actor;
mod caller;
mod noted;
mod gate;
mod session;
mod server;
mod rooms;
mod sealer;
mod sealer_cli;
mod damocles;
mod damocles_cli;
mod lists;
mod messages;
mod miner;
mod deals;
mod pieces;
mod overview;
mod profiles;
mod proving;
mod wdpost;
mod waiting;
mod workers;
mod blocks;

pub(crate) use methods::LONG;
pub use methods::{METHODS, Method};
pub use rooms::{Counts, Rooms};
pub use server::{Serve, run};
pub use waiting::watch as watch_messages;
pub use workers::watch as watch_workers;

/// The part of docs/metrics.md that lists what this manager registers.
pub fn metrics_table() -> String {
    let metrics = damocles_daemon::metrics::Metrics::new("damocles_manager");
    let counts = Counts::register(&metrics);
    counts.allocated(0);
    counts.pre_committed(0);
    counts.committed(0);
    gate::ApiMetrics::register(&metrics).touch();
    self::workers::Gauges::register(&metrics).show(&[], 0);
    waiting::MessageGauges::register(&metrics).touch();
    crate::winning::Counts::register(&metrics).touch();
    damocles_daemon::pages::metrics(&metrics)
}

/// What a manager serves that has another role only: its port tells health and metrics.
pub fn no_methods() -> jsonrpsee::RpcModule<()> {
    jsonrpsee::RpcModule::new(())
}

/// File in the home that tells the address on which the daemon listens, as a multiaddr.
pub const API_FILE: &str = "api";
/// File in the home with the secret that tokens are made with.
pub const SECRET_FILE: &str = "jwt-secret";

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod door_tests;
#[cfg(test)]
mod owner_tests;
#[cfg(test)]
mod proving_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;
#[cfg(test)]
mod tls_tests;
