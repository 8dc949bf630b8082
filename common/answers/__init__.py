"""What is made of a model's numbers: probabilities, the likeliest answers, nearest neighbours; in NumPy alone."""
