"""A witness: cosigns the checkpoints of logs that only grow. Its deployments are those of others."""
