"""The linear-chain CRF over a sequence model's labels, in NumPy: likelihood, gradients and best paths."""
