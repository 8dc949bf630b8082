"""Measurements that are run on purpose, never by a test: calibration, and the suite's own speed."""
