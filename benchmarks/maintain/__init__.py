"""What only maintainers run: making and carrying what measures on machines that are not at hand."""
