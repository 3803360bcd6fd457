//! Temporary while several people build in one target directory: one feature set for all.
