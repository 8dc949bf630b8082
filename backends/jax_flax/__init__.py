"""JAX: Flax's recurrent layers (flax.linen and flax.nnx), and the equations in JAX operations."""

from backends.interface.framework import Framework


def load() -> Framework:
    """Import JAX and describe it; call this inside the framework's own environment."""
    from backends.jax_flax.framework import Jax

    return Jax()
