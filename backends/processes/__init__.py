"""Processes under a controller: they end with it, are never waited for without end, and are not believed unchecked."""
