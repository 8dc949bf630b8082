"""Known divergences of JAX and Flax, each a probe."""
