"""Real data for the models: files that are read, vocabularies, examples and batches, all from the controller's seed."""
