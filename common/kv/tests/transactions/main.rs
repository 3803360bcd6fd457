//! What the door promises, on every engine: each test runs on the one in memory, on RocksDB, and
//! on a PostgreSQL that the tests start where it is installed.

mod server;
mod engines;
mod records;
mod import;
mod isolation;
mod histories;
mod roles;
mod migrations;
mod crash;
mod postgres;
mod place;
mod speed;
