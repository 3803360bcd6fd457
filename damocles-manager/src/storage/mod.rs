//! Persist stores: where sealed files are, how much room there is, and whether a sector is all there.
