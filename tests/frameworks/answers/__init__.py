"""Answers of the models of every framework that are written one token after another."""
