"""The models in PyTorch: the two kinds, what they share, and their optimizers."""
