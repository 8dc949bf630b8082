"""Int8 kernels, dynamic products and quantized files, against their definitions."""
