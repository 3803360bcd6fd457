//! Merkle trees of sealing, as their files lay them out: row after row, leaves first.

pub mod binary;
pub mod octree;

pub(crate) mod files;

pub use files::FileError;
