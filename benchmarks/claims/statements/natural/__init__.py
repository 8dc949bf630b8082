"""What a user's own few lines would be in each framework: files of layers as ``birnn.verify`` takes them."""
