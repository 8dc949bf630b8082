"""Int8: a trained model's kernels as whole numbers with a scale for each row, what is computed with them, and files."""
