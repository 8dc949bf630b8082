"""Gluon as its users call it."""
