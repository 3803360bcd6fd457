//! damocles-manager: holds the sector-state database and answers the workers
