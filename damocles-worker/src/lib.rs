//! damocles-worker: seals sectors, one local state machine per sealing thread
