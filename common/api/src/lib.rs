//! JSON-RPC traits and wire shapes spoken between manager, worker and CLI
