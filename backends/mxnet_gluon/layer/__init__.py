"""The bidirectional layer in MXNet: its implementations and what they share."""
