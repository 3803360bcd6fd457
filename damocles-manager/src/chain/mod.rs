//! The one adapter that speaks to a Filecoin node.
