//! End-to-end scenarios: real daemons, the devnet and real proofs
