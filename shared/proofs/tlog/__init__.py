"""An append-only Merkle log: hashing, proofs, tiles, signed checkpoints and cosignatures; pure functions."""
