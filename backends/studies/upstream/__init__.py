"""Scripts of a framework alone that show a failure which the fuzzer found, ready for a report to its maintainers."""
