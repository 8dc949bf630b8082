"""Studies: cases, models, trainings and probes in several implementations at once, each result judged."""
