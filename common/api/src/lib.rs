//! What manager, worker and CLI say to each other: JSON-RPC traits (server and client from
//! one definition) and the shapes that cross the wire.
//!
//! Namespaces `Venus` and `VenusWorker` are contracts with upstream Damocles, frozen
//! misspellings included (each stands behind a correctly spelled Rust name). What is new
//! of ours lives in `Damocles`. No behaviour here, only words (`show`: how lists say them).

pub mod code;
pub mod reason;
pub mod caller;
pub mod timeline;
pub mod sector;
pub mod store;
pub mod submit;
pub mod workers;
pub mod post;
pub mod blocks;
pub mod proving;
pub mod wdpost;
pub mod attempts;
pub mod sealer;
pub mod sealer_cli;
pub mod worker;
pub mod damocles;
pub mod lists;
pub mod profiles;
pub mod show;
pub mod damocles_cli;
pub mod messages;
pub mod deals;
pub mod overview;
pub mod actor;
pub mod miner;

/// Path on which the manager serves JSON-RPC, over HTTP POST and WebSocket.
pub const MANAGER_RPC_PATH: &str = "/rpc/v0";
/// Port the manager listens on unless told otherwise.
pub const MANAGER_DEFAULT_PORT: u16 = 1789;
/// Port the worker listens on unless told otherwise.
pub const WORKER_DEFAULT_PORT: u16 = 17890;
