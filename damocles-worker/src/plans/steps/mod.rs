//! Steps, one file each; plans put them together.

mod message;
pub mod allocate;
pub mod c1;
pub mod c2;
pub mod pc1;
pub mod pc2;
pub mod persist;
pub mod pieces;
pub mod precommit;
pub mod prove;
pub mod seed;
pub mod submit;
pub mod ticket;
pub mod tree_d;
mod verify;
