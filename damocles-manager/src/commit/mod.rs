//! Precommits and proofs of sectors on their way to the chain: what is sent together, and when.
