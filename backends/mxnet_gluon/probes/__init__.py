"""Known divergences of MXNet, each a probe."""
