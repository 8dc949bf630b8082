"""Cases by name: the built-in ones, a real one, and random ones drawn from a seed."""
