//! SnapEncode: new data goes into a sealed sector of committed capacity (FIP-0019).
//!
//! `encoding` key + data × ρ, node by node.

pub mod encoding;
