"""Mistakes that people really make with bidirectional RNNs, each applied to the reference, to name a wrong result."""
