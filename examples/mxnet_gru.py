"""A bidirectional GRU in MXNet, step by step: python examples/mxnet_gru.py."""

from __future__ import annotations

from mxnet import nd

import birnn


def layer(spec, weights, x, lengths, h_0, c_0):
    if spec.cell != "gru" or not spec.reset_after or spec.merge != "concat" or spec.hidden_size_reverse is not None:
        raise NotImplementedError("this is a GRU that resets after the product, with concat and equal halves")
    batch, seq_len, _ = x.shape
    lengths = nd.full((batch,), seq_len, dtype="int64") if lengths is None else lengths
    steps = nd.arange(seq_len, dtype="int64").reshape((1, seq_len))
    real = nd.broadcast_lesser(steps, lengths.reshape((batch, 1))).reshape((batch, seq_len, 1))  # 1 or 0
    x = nd.where(real.broadcast_like(x), x, nd.zeros_like(x))
    h_n = []
    for k in range(spec.num_layers):
        halves = []
        for direction, suffix in enumerate(("", "_reverse")):
            w_ih, w_hh = weights[f"weight_ih_l{k}{suffix}"], weights[f"weight_hh_l{k}{suffix}"]
            b_ih, b_hh = (weights.get(f"bias_{kind}_l{k}{suffix}", nd.zeros_like(w_hh[:, 0])) for kind in ("ih", "hh"))
            h, outputs = h_0[2 * k + direction], {}
            for t in reversed(range(seq_len)) if direction else range(seq_len):
                r_x, z_x, n_x = nd.split(nd.dot(x[:, t], w_ih.T) + b_ih, 3, axis=1)
                r_h, z_h, n_h = nd.split(nd.dot(h, w_hh.T) + b_hh, 3, axis=1)
                r, z = nd.sigmoid(r_x + r_h), nd.sigmoid(z_x + z_h)
                new = (1 - z) * nd.tanh(n_x + r * n_h) + z * h
                is_real = real[:, t].broadcast_like(new)
                h = nd.where(is_real, new, h)
                outputs[t] = nd.where(is_real, new, nd.zeros_like(new))
            halves.append(nd.stack(*[outputs[t] for t in range(seq_len)], axis=1))
            h_n.append(h)
        x = nd.concat(*halves, dim=2)
    return x, nd.stack(*h_n)


if __name__ == "__main__":
    print(birnn.verify(layer, framework="mxnet", cells=["gru"]))
