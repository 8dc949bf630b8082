"""The commands that look into a trained model."""
