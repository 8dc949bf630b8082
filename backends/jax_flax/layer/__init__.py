"""The bidirectional layer in JAX and Flax: its implementations and what they share."""
