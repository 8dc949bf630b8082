"""Tasks: a model with real data to train it on, a trivial baseline, and answers that people can read."""
