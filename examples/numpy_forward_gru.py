"""A forward-only GRU in NumPy, step by step: python examples/numpy_forward_gru.py."""

from __future__ import annotations

import numpy as np

import birnn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer(spec, weights, x, lengths, h_0, c_0):
    if spec.cell != "gru" or not spec.reset_after or spec.num_directions != 1:
        raise NotImplementedError("this is a GRU that resets after the product, in one direction")
    batch, seq_len, _ = x.shape
    lengths = np.full(batch, seq_len) if lengths is None else lengths
    real = (np.arange(seq_len) < lengths[:, None])[..., None]  # (batch, seq_len, 1)
    x = np.where(real, x, 0)
    h_n = []
    for k, h in enumerate(h_0):
        w_ih, w_hh = weights[f"weight_ih_l{k}"], weights[f"weight_hh_l{k}"]
        b_ih, b_hh = (weights.get(f"bias_{kind}_l{k}", np.zeros_like(w_hh[:, 0])) for kind in ("ih", "hh"))
        outputs = []
        for t in range(seq_len):
            r_x, z_x, n_x = np.split(x[:, t] @ w_ih.T + b_ih, 3, axis=-1)
            r_h, z_h, n_h = np.split(h @ w_hh.T + b_hh, 3, axis=-1)
            r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
            new = (1 - z) * np.tanh(n_x + r * n_h) + z * h
            h = np.where(real[:, t], new, h)
            outputs.append(np.where(real[:, t], new, 0))
        x = np.stack(outputs, axis=1)
        h_n.append(h)
    return x, np.stack(h_n)


if __name__ == "__main__":
    print(birnn.verify(layer, framework="numpy", cells=["gru"], num_directions=1))
