//! The one way to put something on chain: intent stored first, then pushed, then followed until it landed.
