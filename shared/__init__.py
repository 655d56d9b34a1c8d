"""What no service owns: contracts, money, pricing, proofs, and the doors to Postgres, Kafka and HTTP."""
