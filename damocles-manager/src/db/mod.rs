//! What is stored, and the verbs that store it. The only room that knows keys and records.
