//! Processor line protocol, bounded child processes, and the proof stages themselves
