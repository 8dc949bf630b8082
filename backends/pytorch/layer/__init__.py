"""The bidirectional layer in PyTorch: its implementations and what they share."""
