"""What the commands do, under their names."""
