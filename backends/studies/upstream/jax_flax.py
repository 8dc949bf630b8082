"""What scripts of Flax alone are made of: flax.linen's and flax.nnx's bidirectional layers, or RNN by itself."""

from __future__ import annotations

from string import Template

from common.cases.fuzzed import Draw
from common.specification import GATES, Specification

CELLS = {"rnn_tanh": "SimpleCell", "rnn_relu": "SimpleCell", "gru": "GRUCell", "lstm": "OptimizedLSTMCell"}
"""The cells of both libraries by cell."""
MERGES = {"sum": "a + b", "mul": "a * b", "ave": "(a + b) / 2"}
"""What Bidirectional is given to merge by, where not by concat."""
IMPORTS = """import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import $library
from safetensors.numpy import load_file"""
"""The script's imports."""
RUN = Template('''jax.config.update("jax_enable_x64", True)
dtype, sizes = jnp.$dtype, $sizes
halves = ("forward_rnn", "backward_rnn")[: len(sizes)]
denses = $denses  # of a cell: which kernel, which gates of it, and which biases, summed


def dense_layers():
    """The layer, half and dense layer that kernel[rows] and the biases' rows go to."""
    for k in $layers:
        for half, end, units in zip(halves, (f"_l{k}", f"_l{k}_reverse"), sizes):
            for name, (kernel, gates, biases) in denses.items():
                rows = slice(gates[0] * units, (gates[-1] + 1) * units)
                yield k, half, name, rows, kernel + end, [bias + end for bias in biases]


def flax_layout():
    layers = [{half: {"cell": {}} for half in halves} for _ in $layers]
    for k, half, name, rows, kernel, biases in dense_layers():
        dense = layers[k][half]["cell"][name] = {"kernel": weights[kernel][rows].T}  # (gates·units, in) to (in, …)
        if biases:
            none = np.zeros(rows.stop - rows.start)
            dense["bias"] = sum((weights[bias][rows] for bias in biases if bias in weights), none)
    return layers


def canonical_layout(layers):
    gradients = {f"grad.{name}": np.zeros(value.shape) for name, value in weights.items()}
    for k, half, name, rows, kernel, biases in dense_layers():
        gradients[f"grad.{kernel}"][rows] = np.asarray(layers[k][half]["cell"][name]["kernel"], np.float64).T
        for bias in biases:
            if bias in weights:
                gradients[f"grad.{bias}"][rows] = np.asarray(layers[k][half]["cell"][name]["bias"], np.float64)
    return gradients


$apply


def network(parameters, x, lengths, states):
    finals = []
    for k, own in enumerate(parameters):
        initial = []
        for direction, units in enumerate(sizes):
            carry = tuple(state[len(sizes) * k + direction, :, :units] for state in states)[::-1]  # an LSTM's is (c, h)
            initial.append(carry if len(carry) == 2 else carry[0])
        carries, x = apply(own, x, tuple(initial), seq_lengths=lengths, return_carry=True)
        finals += [carry[::-1] if isinstance(carry, tuple) else (carry,) for carry in carries]
    if lengths is not None:  # Flax hands out live numbers past a length
        real = jnp.arange(x.shape[1]) < lengths[:, None]
        x = jnp.where(real[..., None], x, jnp.zeros_like(x))
    rows = [[jnp.pad(row, ((0, 0), (0, max(sizes) - row.shape[1]))) for row in each] for each in zip(*finals)]
    return {"output": x, **dict(zip(("h_n", "c_n"), map(jnp.stack, rows)))}


@jax.jit
def forward_backward(parameters, x, lengths, states, cotangents):
    results, pull = jax.vjp(lambda *given: network(given[0], given[1], lengths, given[2]), parameters, x, states)
    return results, pull({name: cotangents.get(name, jnp.zeros_like(value)) for name, value in results.items()})


def run(x):
    def arrays(tree):
        return jax.tree.map(lambda value: jnp.asarray(np.asarray(value, dtype)), tree)

    lengths_32 = None if lengths is None else lengths.astype(np.int32)
    given = arrays(flax_layout()), arrays(x), lengths_32, arrays(states)
    if cotangents:
        results, (by_parameters, by_x, by_states) = forward_backward(*given, arrays(cotangents))
        results |= {"grad.x": by_x, **dict(zip(("grad.h_0", "grad.c_0"), by_states))} | canonical_layout(by_parameters)
    else:
        results = jax.jit(network)(*given)
    return {name: np.asarray(value, np.float64) for name, value in results.items()}
''')
"""The parameters in Flax's layout (``apply`` is the library's), and ``run``, which gives every result in float64."""
LINEN = Template("""zeros = linen.initializers.zeros_init()


def apply(own, x, initial, **options):
    given = {"kernel_init": zeros, "recurrent_kernel_init": zeros, "dtype": dtype, "param_dtype": dtype}
    rnns = [linen.RNN(linen.$cell(units, $activation**given)) for units in sizes]
    if len(rnns) == 1:
        carry, x = rnns[0].apply({"params": own["forward_rnn"]}, x, initial_carry=initial[0], **options)
        return (carry,), x
    return linen.Bidirectional(*rnns$merge).apply({"params": own}, x, initial_carry=initial, **options)""")
"""One layer of flax.linen on its parameters."""
NNX = Template("""zeros = nnx.initializers.zeros_init()


def build(input_size):
    rnns = []
    for units in sizes:
        given = {"kernel_init": zeros, "dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
        cell = nnx.$cell(input_size, units, recurrent_kernel_init=zeros, $activation**given)
$bias        rnns.append(nnx.RNN(cell, rngs=False))
    return rnns[0] if len(rnns) == 1 else nnx.Bidirectional(*rnns$merge, rngs=False)


def apply(own, x, initial, **options):
    graph = nnx.graphdef(nnx.eval_shape(lambda: build(x.shape[-1])))
    if len(sizes) == 1:
        carry, x = nnx.merge(graph, nnx.State(own["forward_rnn"]))(x, initial_carry=initial[0], **options)
        return (carry,), x
    return nnx.merge(graph, nnx.State(own))(x, initial_carry=initial, **options)""")
"""One layer of flax.nnx on its parameters."""
RECURRENT_BIAS = """\
        cell.dense_h = nnx.Linear(units, 3 * units, **given)  # GRUCell has no bias there, google/flax#5594
"""
"""What gives a GRU with biases its recurrent one."""
BOTH = ["bias_ih", "bias_hh"]
"""The two canonical biases, which Flax adds up."""
Denses = dict[str, tuple[str, list[int], list[str]]]
"""Dense layers of a cell by name: a canonical kernel, its gates, and biases that are summed there."""


def linen_denses(spec: Specification) -> Denses:
    """The dense layers of a linen cell by name: the kernel, its gates, and the biases that are summed there."""
    if spec.cell.startswith("rnn"):
        return {"i": ("weight_ih", [0], BOTH), "h": ("weight_hh", [0], [])}
    denses: Denses = {}
    for place, gate in enumerate(GATES[spec.cell]):
        from_x, from_h = ([], BOTH) if spec.cell == "lstm" else (BOTH, [])
        if gate == "n":
            from_x, from_h = BOTH[:1], BOTH[1:]
        denses[f"i{gate}"] = ("weight_ih", [place], from_x)
        denses[f"h{gate}"] = ("weight_hh", [place], from_h)
    return denses


def nnx_denses(spec: Specification) -> Denses:
    """The two dense layers of an nnx cell; a GRU's recurrent one is replaced where there are biases."""
    gates = list(range(spec.num_gates))
    from_x, from_h = {"lstm": ([], BOTH), "gru": (BOTH[:1], BOTH[1:] if spec.bias else [])}.get(spec.cell, (BOTH, []))
    return {"dense_i": ("weight_ih", gates, from_x), "dense_h": ("weight_hh", gates, from_h)}


def linen_parts(draw: Draw) -> dict[str, str]:
    """A script's parts for a draw, merged otherwise than by a learned merge, with flax.linen."""
    spec = draw.spec()
    return _parts(draw, "linen", linen_denses(spec), LINEN.substitute(_named(spec)))


def nnx_parts(draw: Draw) -> dict[str, str]:
    """The parts of a script that uses flax.nnx."""
    spec = draw.spec()
    bias = RECURRENT_BIAS if spec.cell == "gru" and spec.bias else ""
    return _parts(draw, "nnx", nnx_denses(spec), NNX.substitute(_named(spec), bias=bias))


def _named(spec: Specification) -> dict[str, str]:
    """What a script calls the cell, its activation and the merge."""
    merge = f", merge_fn=lambda a, b: {MERGES[spec.merge]}" if spec.merge in MERGES else ""
    activation = "activation_fn=jax.nn.relu, " if spec.cell == "rnn_relu" else ""
    return {"cell": CELLS[spec.cell], "activation": activation, "merge": merge}


def _parts(draw: Draw, library: str, denses: Denses, apply: str) -> dict[str, str]:
    """The parts of a script that both libraries share."""
    spec = draw.spec()
    shape = {"dtype": draw.dtype, "sizes": spec.hidden_sizes, "layers": f"range({spec.num_layers})"}
    return {
        "layer": f"flax.{library}.{'Bidirectional' if spec.num_directions == 2 else 'RNN'} of {CELLS[spec.cell]}",
        "imports": IMPORTS.replace("$library", library),
        "run": RUN.substitute(shape, denses=denses, apply=apply),
        "versions": '"jax", jax.__version__, "flax", flax.__version__',
    }
