"""Statements: the claims themselves by topic, each with what measures it."""
