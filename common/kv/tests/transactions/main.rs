//! What the door promises, on every engine: each test runs on the one in memory and on RocksDB.

mod engines;
mod records;
mod isolation;
mod histories;
mod roles;
mod beside;
mod crash;
mod speed;
