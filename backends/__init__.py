"""The frameworks: one interface, one folder for each, and the workers that run them."""
