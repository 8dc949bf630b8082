"""The interface: what every framework's folder implements."""
