//! damocles-devnet: a one-node Filecoin network for tests and demos
