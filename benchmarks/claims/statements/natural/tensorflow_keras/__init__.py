"""Keras as its users call it."""
