//! Data of clients that is to be sealed: a queue of the manager's own.
mod pack;
