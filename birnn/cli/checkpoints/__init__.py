"""The commands about checkpoints of other suites: what is in one, and moving it."""
