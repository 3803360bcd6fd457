//! What both daemons share: config loading, logs, exit codes, locks, signals, services
