"""Checkpoints of other suites: read and written without the framework and without running what is in them."""
