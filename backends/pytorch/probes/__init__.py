"""Known divergences of PyTorch, each a probe."""
