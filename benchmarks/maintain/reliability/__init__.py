"""Reliability: the suite attacked with hundreds of real processes."""
