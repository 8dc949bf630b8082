"""A bidirectional GRU in JAX, with lax.scan over the steps: python examples/jax_gru.py."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

import birnn


@partial(jax.jit, static_argnums=0)
def layer(spec, weights, x, lengths, h_0, c_0):
    if spec.cell != "gru" or not spec.reset_after or spec.merge != "concat" or spec.hidden_size_reverse is not None:
        raise NotImplementedError("this is a GRU that resets after the product, with concat and equal halves")
    batch, seq_len, _ = x.shape
    lengths = jnp.full(batch, seq_len) if lengths is None else lengths
    real = (jnp.arange(seq_len) < lengths[:, None])[..., None]  # (batch, seq_len, 1)
    x = jnp.where(real, x, 0)
    h_n = []
    for k in range(spec.num_layers):
        halves = []
        for direction, suffix in enumerate(("", "_reverse")):
            w_ih, w_hh = weights[f"weight_ih_l{k}{suffix}"], weights[f"weight_hh_l{k}{suffix}"]
            b_ih, b_hh = (weights.get(f"bias_{kind}_l{k}{suffix}", 0) for kind in ("ih", "hh"))

            def step(h, inputs, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh):
                x_t, real_t = inputs
                r_x, z_x, n_x = jnp.split(x_t @ w_ih.T + b_ih, 3, axis=-1)
                r_h, z_h, n_h = jnp.split(h @ w_hh.T + b_hh, 3, axis=-1)
                r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
                new = (1 - z) * jnp.tanh(n_x + r * n_h) + z * h
                return jnp.where(real_t, new, h), jnp.where(real_t, new, 0)

            by_time = (x.swapaxes(0, 1), real.swapaxes(0, 1))  # (seq_len, batch, …)
            h, outputs = jax.lax.scan(step, h_0[2 * k + direction], by_time, reverse=bool(direction))
            halves.append(outputs.swapaxes(0, 1))  # (batch, seq_len, hidden_size)
            h_n.append(h)
        x = jnp.concatenate(halves, axis=-1)
    return x, jnp.stack(h_n)


if __name__ == "__main__":
    print(birnn.verify(layer, framework="jax", cells=["gru"]))
