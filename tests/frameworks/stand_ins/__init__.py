"""For each probe, the behaviour that it would find if the framework did what a user expects."""
