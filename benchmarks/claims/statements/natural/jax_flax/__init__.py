"""Flax as its users call it."""
