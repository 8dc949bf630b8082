"""PyTorch as its users call it."""
