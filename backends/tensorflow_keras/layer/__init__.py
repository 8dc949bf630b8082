"""The bidirectional layer in TensorFlow and Keras: its implementations and what they share."""
