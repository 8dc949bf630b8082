"""What is kept on disk to spare a computation: whole or not at all, and never more than its room."""
