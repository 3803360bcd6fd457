//! Wires the rooms: the only place where real parts are chosen.
