"""Keras 2, in TensorFlow 2.15: an environment that loads what it wrote itself, for the proof of a conversion alone."""

from __future__ import annotations

from backends.interface.framework import Framework


def load() -> Framework:
    """Import TensorFlow and hand out the framework."""
    from backends.keras2.framework import Keras2

    return Keras2()
