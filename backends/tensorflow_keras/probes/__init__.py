"""Known divergences of TensorFlow and Keras, each a probe."""
