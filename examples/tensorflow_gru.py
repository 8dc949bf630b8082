"""A bidirectional GRU in TensorFlow, step by step: python examples/tensorflow_gru.py."""

from __future__ import annotations

import tensorflow as tf

import birnn


def layer(spec, weights, x, lengths, h_0, c_0):
    if spec.cell != "gru" or not spec.reset_after or spec.merge != "concat" or spec.hidden_size_reverse is not None:
        raise NotImplementedError("this is a GRU that resets after the product, with concat and equal halves")
    batch, seq_len, _ = x.shape
    lengths = tf.fill([batch], tf.constant(seq_len, tf.int64)) if lengths is None else lengths
    real = (tf.range(seq_len, dtype=tf.int64) < lengths[:, None])[..., None]  # (batch, seq_len, 1)
    x = tf.where(real, x, tf.zeros_like(x))
    h_n = []
    for k in range(spec.num_layers):
        halves = []
        for direction, suffix in enumerate(("", "_reverse")):
            w_ih, w_hh = weights[f"weight_ih_l{k}{suffix}"], weights[f"weight_hh_l{k}{suffix}"]
            b_ih, b_hh = (weights.get(f"bias_{kind}_l{k}{suffix}", tf.zeros_like(w_hh[:, 0])) for kind in ("ih", "hh"))
            h, outputs = h_0[2 * k + direction], {}
            for t in reversed(range(seq_len)) if direction else range(seq_len):
                r_x, z_x, n_x = tf.split(tf.matmul(x[:, t], w_ih, transpose_b=True) + b_ih, 3, axis=-1)
                r_h, z_h, n_h = tf.split(tf.matmul(h, w_hh, transpose_b=True) + b_hh, 3, axis=-1)
                r, z = tf.sigmoid(r_x + r_h), tf.sigmoid(z_x + z_h)
                new = (1 - z) * tf.tanh(n_x + r * n_h) + z * h
                h = tf.where(real[:, t], new, h)
                outputs[t] = tf.where(real[:, t], new, tf.zeros_like(new))
            halves.append(tf.stack([outputs[t] for t in range(seq_len)], axis=1))
            h_n.append(h)
        x = tf.concat(halves, axis=-1)
    return x, tf.stack(h_n)


if __name__ == "__main__":
    print(birnn.verify(layer, framework="tensorflow", cells=["gru"]))
