//! JSON-RPC: wire to domain and back, permissions, error codes. No decisions.
//!
//! ```text
//! socket ──► server (token, size) ──► gate (method, parameters, permission, time)
//!                                        ──► sealer · sealer_cli · damocles ──► rooms
//! ```

mod methods;
mod error;
mod gate;
mod server;
mod rooms;
mod sealer;
mod sealer_cli;
mod damocles;
mod workers;

pub use methods::{METHODS, Method};
pub use rooms::{Counts, Rooms};
pub use server::{Serve, run};
pub use workers::watch as watch_workers;

/// File in the home that tells the address on which the daemon listens, as a multiaddr.
pub const API_FILE: &str = "api";
/// File in the home with the secret that tokens are made with.
pub const SECRET_FILE: &str = "jwt-secret";

#[cfg(test)]
mod tests;
