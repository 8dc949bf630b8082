"""The models in MXNet: the two kinds, what they share, and their optimizers."""
