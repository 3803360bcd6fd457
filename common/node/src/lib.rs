//! Wire shapes of the Filecoin node JSON-RPC v1 that Lotus, Forest, Venus and the devnet share
