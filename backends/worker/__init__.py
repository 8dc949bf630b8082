"""The worker: the process inside a framework's environment, and what it runs there."""
