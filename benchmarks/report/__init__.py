"""The report: a run as tables, and as one HTML page."""
