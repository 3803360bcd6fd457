//! State tables of the plans and of chain messages; pure data, no IO
