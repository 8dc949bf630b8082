"""What a trained model says beyond its best answer: the likeliest ones with their probabilities, as text and files."""
