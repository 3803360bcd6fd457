//! The hash of tree-d and of pieces: SHA-256 of two nodes, cut to 254 bits; many at a time.
