"""The models in TensorFlow and Keras: the two kinds, what they share, and their optimizers."""
