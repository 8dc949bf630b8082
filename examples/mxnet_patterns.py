"""Patterns that tutorials teach for a bidirectional layer in MXNet, and what the suite says of each:
python examples/mxnet_patterns.py. The first one is right; the others run, train and are wrong.

nd.RNN is what mxnet.gluon.rnn's layers call; it takes the weights as one vector, and is time-major.
"""

from __future__ import annotations

from mxnet import nd

import birnn


def supported(spec, lengths):
    if spec.num_layers > 1 or spec.merge != "concat" or spec.hidden_size_reverse is not None or not spec.bias:
        raise NotImplementedError("one layer with biases and concat, of equal halves")
    if spec.cell not in ("rnn_tanh", "gru") or not spec.reset_after:
        raise NotImplementedError("a tanh RNN, or a GRU that resets after the product")
    if lengths is None or (lengths == 0).sum().asscalar():
        raise NotImplementedError("rows with lengths, none of them 0")


def run(spec, weights, x, h_0, *suffixes, **options):
    """The layer with the weights of these directions on x, (seq_len, batch, input_size): output and final states."""
    kinds = ("weight_ih", "weight_hh"), ("bias_ih", "bias_hh")
    names = [f"{kind}_l0{suffix}" for pair in kinds for suffix in suffixes for kind in pair]
    vector = nd.concat(*(weights[name].reshape(-1) for name in names), dim=0)
    options = {"mode": spec.cell, "state_outputs": True, "bidirectional": len(suffixes) > 1} | options
    return nd.RNN(x, vector, h_0, state_size=spec.hidden_size, num_layers=1, **options)


def time_major(x, lengths):
    """Batch-first rows as (seq_len, batch, features), with zeros past the lengths, which are given as int32, too."""
    lengths = lengths.astype("int32")
    return nd.SequenceMask(x.swapaxes(0, 1), lengths, use_sequence_length=True), lengths


def batch_first(output, lengths):
    """Back again, with zeros past the lengths."""
    return nd.SequenceMask(output, lengths, use_sequence_length=True).swapaxes(0, 1)


def reversed_by_length(spec, weights, x, lengths, h_0, c_0, **options):
    """Two layers, the second on rows reversed by their lengths, and the states taken at the lengths: right."""
    supported(spec, lengths)
    x, lengths = time_major(x, lengths)
    by_length = {"use_sequence_length": True}
    forward, _ = run(spec, weights, x, h_0[:1], "", **options)
    reverse, _ = run(spec, weights, nd.SequenceReverse(x, lengths, **by_length), h_0[1:], "_reverse", **options)
    states = [nd.SequenceLast(output, lengths, **by_length) for output in (forward, reverse)]
    output = nd.concat(forward, nd.SequenceReverse(reverse, lengths, **by_length), dim=2)
    return batch_first(output, lengths), nd.stack(*states)


def padding_fed(spec, weights, x, lengths, h_0, c_0):
    """The padded batch fed to the bidirectional layer, and the output cut off by the lengths."""
    supported(spec, lengths)
    x, lengths = time_major(x, lengths)
    output, states = run(spec, weights, x, h_0, "", "_reverse")
    return batch_first(output, lengths), states


def lengths_given_to_the_fused_layer(spec, weights, x, lengths, h_0, c_0):
    """use_sequence_length=True, which MXNet 1.9.1 ignores on a CPU without a word (apache/mxnet#19323)."""
    supported(spec, lengths)
    x, lengths = time_major(x, lengths)
    options = {"sequence_length": lengths, "use_sequence_length": True}
    output, states = run(spec, weights, x, h_0, "", "_reverse", **options)
    return batch_first(output, lengths), states


def padded_batch_flipped(spec, weights, x, lengths, h_0, c_0):
    """Two layers, the second on the flipped batch: the padding comes first there."""
    supported(spec, lengths)
    x, lengths = time_major(x, lengths)
    forward, h_forward = run(spec, weights, x, h_0[:1], "")
    reverse, h_reverse = run(spec, weights, nd.flip(x, axis=0), h_0[1:], "_reverse")
    output = nd.concat(forward, nd.flip(reverse, axis=0), dim=2)
    return batch_first(output, lengths), nd.concat(h_forward, h_reverse, dim=0)


def time_over_the_batch(spec, weights, x, lengths, h_0, c_0):
    """The time-major layer, Gluon's default layout, fed batch-first data: rows take the place of steps, which raises
    with initial states, unless there are as many rows as steps.
    """
    supported(spec, lengths)
    x, lengths = time_major(x, lengths)
    output, states = run(spec, weights, x.swapaxes(0, 1), h_0, "", "_reverse")
    return batch_first(output.swapaxes(0, 1), lengths), states


def reverse_half_not_flipped_back(spec, weights, x, lengths, h_0, c_0):
    """Two layers, the second on rows reversed by their lengths, its output left in that order."""
    supported(spec, lengths)
    _, states = reversed_by_length(spec, weights, x, lengths, h_0, c_0)
    x, lengths = time_major(x, lengths)
    forward, _ = run(spec, weights, x, h_0[:1], "")
    reverse, _ = run(spec, weights, nd.SequenceReverse(x, lengths, use_sequence_length=True), h_0[1:], "_reverse")
    return batch_first(nd.concat(forward, reverse, dim=2), lengths), states


def last_output_as_state(spec, weights, x, lengths, h_0, c_0):
    """The output at the last real step taken for the final state of both halves; the reverse half ends at step 0."""
    output, _ = reversed_by_length(spec, weights, x, lengths, h_0, c_0)
    last = nd.SequenceLast(output.swapaxes(0, 1), lengths.astype("int32"), use_sequence_length=True)
    return output, nd.stack(*nd.split(last, 2, axis=1))


def relu_by_default(spec, weights, x, lengths, h_0, c_0):
    """mxnet.gluon.rnn.RNN without an activation is a relu where the weights were trained with tanh."""
    supported(spec, lengths)
    if spec.cell != "rnn_tanh":
        raise NotImplementedError("a tanh RNN")
    return reversed_by_length(spec, weights, x, lengths, h_0, c_0, mode="rnn_relu")


PATTERNS = (
    reversed_by_length,
    padding_fed,
    lengths_given_to_the_fused_layer,
    padded_batch_flipped,
    time_over_the_batch,
    reverse_half_not_flipped_back,
    last_output_as_state,
    relu_by_default,
)

if __name__ == "__main__":
    spec = birnn.Specification(cell="gru", input_size=4, hidden_size=6, num_layers=1, bias=True, merge="concat")
    case = birnn.make_case(spec, batch=3, seq_len=6, lengths=[5, 3, 1])
    for pattern in PATTERNS:
        print(pattern.__doc__)
        print(birnn.verify(pattern, framework="mxnet", cases=[case], dtypes=["float32"]), end="\n\n")
