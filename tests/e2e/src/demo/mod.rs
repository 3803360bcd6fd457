//! `make demo`: from nothing to sectors that the chain has seen proven, with every step on
//! the screen. Nothing here takes part in sealing; it starts, asks, shows and sums up.

pub mod view;
pub mod summary;
pub mod screen;
pub mod run;
