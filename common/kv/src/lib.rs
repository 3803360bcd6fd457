//! Durable key-value tables with atomic batches; the only crate that names rocksdb
