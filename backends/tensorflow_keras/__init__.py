"""TensorFlow: Keras' recurrent layers, and the equations in TensorFlow operations."""

from backends.interface.framework import Framework


def load() -> Framework:
    """Import TensorFlow and describe it; call this inside the framework's own environment."""
    from backends.tensorflow_keras.framework import TensorFlow

    return TensorFlow()
