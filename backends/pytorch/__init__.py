"""PyTorch: torch.nn's recurrent layers, and the equations in torch operations."""

from backends.interface.framework import Framework


def load() -> Framework:
    """Import PyTorch and describe it; call this inside the framework's own environment."""
    from backends.pytorch.framework import PyTorch

    return PyTorch()
