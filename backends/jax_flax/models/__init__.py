"""The models in JAX and Flax: the two kinds, what they share, and their optimizers."""
