"""Mutation: single mistakes planted in our own code, and how many of them the tests notice."""
