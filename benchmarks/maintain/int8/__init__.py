"""Models with kernels in int8: what they answer, how their error grows over a row, and the frameworks' own kernels."""
