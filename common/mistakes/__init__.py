"""Mistakes that people really make with bidirectional RNNs, each applied to the reference, and which one explains a
wrong result.
"""
