"""Claims: what tutorials say of bidirectional RNNs, each measured by a command and judged by a rule."""
