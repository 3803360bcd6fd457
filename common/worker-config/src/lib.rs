//! The worker's configuration file as it is written, for both daemons: the worker reads it, and
//! the manager keeps profiles of it for many hosts.
//!
//! `raw` is the image of the file; `layers` lays one file over another; `profile` says what a
//! profile may hold. What the values mean is the worker's affair.

pub mod raw;
pub mod layers;
pub mod profile;

pub use layers::{Laid, lay_over};
pub use raw::RawConfig;
