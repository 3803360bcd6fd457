//! JSON-RPC: wire to domain and back, permissions, error codes. No decisions.
