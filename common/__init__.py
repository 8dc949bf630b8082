"""Specification, weights, cases, reference and agreement: everything that needs no framework."""
