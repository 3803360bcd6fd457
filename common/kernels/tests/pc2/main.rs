//! PC2 against filecoin-proofs: every file byte for byte, in every tree shape, on every code
//! path, within whatever memory; and what happens when it is stopped or given bad files.

mod faults;
mod identity;
mod sector;
mod slow;
