//! The domain as the manager's rooms speak of it: sector records and the ids that tie
//! sectors, messages and proofs together. Not the stored form (that is `db/record`).
