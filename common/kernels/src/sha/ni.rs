//! SHA-256 on the SHA instructions: a few streams at a time.
