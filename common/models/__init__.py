"""The models: what they are, their batches, their reference in NumPy, and how they are trained and judged."""
