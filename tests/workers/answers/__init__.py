"""Answers that a worker gives step by step."""
