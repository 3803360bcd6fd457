//! The command line: speaks to the daemon by RPC only.
