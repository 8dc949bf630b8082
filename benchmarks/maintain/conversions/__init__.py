"""How fast a large checkpoint is converted, beside copying it and the framework's own load and save."""
