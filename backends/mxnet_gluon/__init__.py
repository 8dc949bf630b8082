"""MXNet: Gluon's recurrent layers and cells, and the equations in MXNet operations."""

from backends.interface.framework import Framework


def load() -> Framework:
    """Import MXNet and describe it; call this inside the framework's own environment."""
    from backends.mxnet_gluon.framework import MXNet

    return MXNet()
