"""Programs kept on disk: what TensorFlow traced and optimized once, later processes run without doing so again.

A program is kept as what TensorFlow itself made of it: the definition of its function and of those that it calls, which
are handed to TensorFlow's runtime as they are, and the graph that grappler made of them at the first call, which the
runtime takes in place of optimizing anew. It is the same program, bit for bit, and XLA works on it as on a traced one;
only the call goes past tf.function, so nothing is timed this way. In TensorFlow 2.21 tracing is half of what `birnn
verify` would need of a processor, and optimizing two thirds of the rest.

What a function reads beside its arguments, as a train step does its variables and its optimizer's, comes behind them:
whoever runs it names all that may be, and kept is which of these it reads.

The runtime has a cache of its own for optimized graphs, in the folder that TF_GRAPH_CACHING names: it takes what lies
there under a function's name, and writes what took it more than three seconds. Names alone are no key, so the folder is
named only while a kept program is called for the first time, and holds that program's graph alone.

XLA's own cache of what it compiles is left off: a file in it that is damaged or cannot be written makes the call fail
(TensorFlow 2.21, --tf_xla_persistent_cache_directory).

The key of a program holds what tracing and optimizing read: the implementation and its specification, or the model's,
the arguments' names, shapes and dtypes, our sources, the files of Keras and TensorFlow that trace, versions, devices,
the processor, and switches.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorflow.core.framework.optimized_function_graph_pb2 import OptimizedFunctionGraph
from tensorflow.python.eager import context  # not public: nothing that is registers a function by its definition

from backends.interface.kept_files import keep, read_kept

FOLDER = "BIRNN_TENSORFLOW_PROGRAMS"
"""The environment variable that names the folder of programs; where it is not set or empty, none are kept."""
AT_ONCE = 128
"""Programs of one process before the one unused for longest is dropped; a traced one holds some 20 MB."""
MOST_BYTES = 2**27
"""Bytes that a process leaves in the folder when it starts; a layer's program takes some 20 kB, a model's some 100."""
GRAPHS = "TF_GRAPH_CACHING"
"""TensorFlow's environment variable for the folder of optimized graphs."""
SWITCHES = ("TF_", "XLA_", "DNNL_", "ONEDNN_", "OMP_", "MKL_")
"""How the names of environment variables begin that TensorFlow and its libraries read."""
SOURCES = ("backends/interface", "backends/tensorflow_keras", "backends/tensorflow_keras/layer", "common")
"""Folders of ours whose files tracing a layer may read."""
OURS = "backends.tensorflow_keras"
"""The package whose files the keys of kept programs are made from: a class from elsewhere is always traced."""

Function = Callable[..., Any]
"""A function that is traced."""
_KNOWN: dict[str, Function] = {}
"""The programs of this process by key."""


@dataclass(eq=False)
class Program:
    """A program that TensorFlow's runtime knows by name, as long as there is this object.

    Parameters
    ----------
    functions
        The names of the functions that it consists of, itself last.
    outputs
        How many tensors it gives.
    structure
        Names of tensors in the shape in which the function gives them: dictionaries, and tuples of them; None where it
        gives None.
    size
        The number of the function's nodes.
    reads
        Which tensors it reads behind its arguments, by their numbers among all that it is given.
    optimized
        What the runtime has made of it, an ``OptimizedFunctionGraph``, to be offered with the first call; or nothing.
    to_keep
        What is done with the graphs that the runtime makes of it in the first call, where that is not known yet.
    """

    functions: Sequence[bytes]
    outputs: int
    structure: Any
    size: int
    reads: Sequence[int] = ()
    optimized: bytes = b""
    to_keep: Callable[[Sequence[Any]], None] | None = None

    def __post_init__(self) -> None:
        weakref.finalize(self, _remove, self.functions).atexit = False

    def __call__(self, *arguments: Any, beside: Sequence[tf.Tensor] = ()) -> Any:
        """Run it on what the tf.function takes, and on what of ``beside`` it reads."""
        inputs = [_input(value) for _, value in _leaves(arguments)] + [beside[number] for number in self.reads]
        optimized, self.optimized = self.optimized, b""
        to_keep, self.to_keep = self.to_keep, None
        if to_keep is not None:
            outputs, graphs = _collected(lambda: self._run(inputs))
            to_keep(graphs)
        else:
            with offered(optimized, self.functions[-1].decode(), self.size):
                outputs = self._run(inputs)
        given = iter(outputs)
        flat = [None if leaf is None else next(given) for leaf in tf.nest.flatten(self.structure)]
        return tf.nest.pack_sequence_as(self.structure, flat)

    def _run(self, inputs: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The tensors that it gives for its inputs."""
        return context.context().call_function(self.functions[-1], inputs, self.outputs)


def _remove(functions: Sequence[bytes]) -> None:
    """Have the runtime forget functions; it counts how often each was handed to it."""
    for name in functions:
        context.context().remove_function(name)


def _collected(run: Callable[[], Any]) -> tuple[Any, Sequence[Any]]:
    """What ``run`` gives, and the graphs that the runtime made meanwhile."""
    context.context().enable_graph_collection()
    try:
        return run(), context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()


@contextmanager
def offered(optimized: bytes, name: str, size: int) -> Iterator[None]:
    """While it is entered, the runtime finds the optimized graph, if any, of the function of that name and number of
    nodes: under the job's name and number, which outside of clusters are nothing and -1, and the function's name up to
    its last underscore.
    """
    if not optimized:
        yield
        return
    with tempfile.TemporaryDirectory() as aside:
        Path(aside, f"_-1_{name.rpartition('_')[0]}_{size}").write_bytes(optimized)
        os.environ[GRAPHS] = aside
        try:
            yield
        finally:
            del os.environ[GRAPHS]


def folder() -> Path | None:
    """Where programs are kept, or None: also while functions run eagerly, as nothing is traced then."""
    named = os.environ.get(FOLDER)
    return Path(named) if named and not tf.config.functions_run_eagerly() else None


def program(
    traced: Callable[[], Any],
    what: Sequence[Any],
    arguments: tuple[Any, ...],
    beside: Sequence[tf.Tensor] = (),
    sources: tuple[str, ...] = SOURCES,
) -> Function:
    """A pass for these arguments: from the folder where it is there, else ``traced()``, which is then kept there.

    Parameters
    ----------
    traced
        Gives the tf.function.
    what
        All that the program follows from but its arguments and ``surroundings``, for JSON.
    arguments
        What it is going to be called with.
    beside
        What it may read beside them, in an order that follows from ``what``.
    sources
        Folders of ours whose files tracing may read.
    """
    where = folder()
    if where is None:
        return traced()
    signature = [
        (path, value.shape.as_list(), value.dtype.name, isinstance(value, tf.Variable))
        for path, value in _leaves((arguments, beside))
    ]
    key = hashlib.sha256(json.dumps([what, signature, surroundings(sources)], sort_keys=True).encode()).hexdigest()[:32]
    kept = _KNOWN.pop(key, None) or _read(where / key) or _keep(traced(), arguments, beside, where / key)
    if isinstance(kept, Program) or not beside:  # a tf.function that reads anything beside is that of one network
        _KNOWN[key] = kept  # the one used last stands last
        forget(AT_ONCE)
    return partial(kept, beside=beside) if isinstance(kept, Program) else kept


def forget(left: int) -> None:
    """Drop the programs of this process that were unused for longest, so that so many are left."""
    while len(_KNOWN) > left:
        del _KNOWN[next(iter(_KNOWN))]


def surroundings(sources: tuple[str, ...] = SOURCES) -> dict[str, Any]:
    """What tracing may read that no argument says."""
    return {
        "sources": _sources(sources),
        "versions": [tf.__version__, tf.version.GIT_VERSION, keras.__version__],
        "files": _files_of_tensorflow(),
        "processor": _processor(),
        "switches": {name: value for name, value in os.environ.items() if name.startswith(SWITCHES)},
        "optimizers": tf.config.optimizer.get_experimental_options(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }


@cache
def _sources(folders: tuple[str, ...]) -> str:
    """A hash of our own files that tracing may read."""
    root = Path(__file__).resolve().parents[3]
    files = sorted(file for each in folders for file in (root / each).glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _processor() -> list[Any]:
    """The number of processors, their name and what they can do, on which optimizations depend."""
    with suppress(OSError):
        lines = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line[:5] in ("model", "flags")}
        return [os.cpu_count(), *sorted(lines)]
    return [os.cpu_count(), platform.processor()]


@cache
def _files_of_tensorflow() -> str:
    """A hash of the names, sizes and times of the files of Keras and TensorFlow that trace: whoever changes one traces
    anew.
    """
    tensorflow = Path(context.__file__).parents[1]
    roots = [Path(keras.__file__).parent, *(tensorflow / each for each in ("eager", "framework", "ops"))]
    files = [(file, file.stat()) for root in roots for file in sorted(root.rglob("*.py"))]
    listed = [(file.name, stat.st_size, stat.st_mtime_ns) for file, stat in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, tf.Tensor | tf.Variable]]:
    """Each tensor or variable among arguments with where it stands, in the order of a function's inputs: dictionaries
    by key.
    """
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(value[name], f"{path}/{name}")
    elif isinstance(value, tuple | list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}/{index}")
    elif value is not None:
        yield path, value


def _input(value: tf.Tensor | tf.Variable) -> tf.Tensor:
    """What a function is given: a tensor, or of a variable its handle."""
    return value.handle if isinstance(value, tf.Variable) else value


def _read(path: Path) -> Program | None:
    """The program in a file, handed to TensorFlow; None where there is none, or not a whole one."""
    content = read_kept(path)  # a whole one: the runtime takes whatever it is offered
    if content is None:
        return None
    try:
        head, _, body = zlib.decompress(content).partition(b"\n")
        texts = json.loads(head)
        library = tf.compat.v1.GraphDef.FromString(body[: texts["library"]]).library
        optimized = body[texts["library"] :]
        return _register(library, texts["outputs"], texts["structure"], texts["reads"], optimized=optimized)
    except (ValueError, KeyError, zlib.error, DecodeError):
        return None


def _register(library: Any, outputs: int, structure: Any, reads: Sequence[int], **first: Any) -> Program:
    """The program that is a library's last function, handed to TensorFlow with the others."""
    for function in library.function:
        context.context().add_function_def(function)
    names = [function.signature.name.encode() for function in library.function]
    return Program(names, outputs, structure, len(library.function[-1].node_def), reads, **first)


def _keep(traced: Any, arguments: tuple[Any, ...], beside: Sequence[tf.Tensor], path: Path) -> Function:
    """The program that a tf.function is for these arguments, which its first call writes into a file; where it reads
    anything else, the tf.function.
    """
    concrete = traced.get_concrete_function(*arguments)
    structure = tf.nest.map_structure(lambda spec: None if spec is None else "", concrete.structured_outputs)
    numbers = {id(tensor): number for number, tensor in enumerate(beside)}
    reads = [numbers[id(tensor)] for tensor in concrete.captured_inputs if id(tensor) in numbers]
    given = sum(leaf is not None for leaf in tf.nest.flatten(structure))
    if len(reads) != len(concrete.captured_inputs) or len(concrete.outputs) != given:
        return traced
    library = tf.compat.v1.GraphDef(library=concrete.graph.as_graph_def().library)
    library.library.function.append(concrete.function_def)
    _rename(library.library.function, f"{path.name}-{secrets.token_hex(8)}")

    def to_keep(graphs: Sequence[Any]) -> None:
        optimized = _optimized(graphs, library.library.function[-1])
        content = library.SerializeToString()
        texts = {"outputs": len(concrete.outputs), "structure": structure, "reads": reads, "library": len(content)}
        keep(path, zlib.compress(json.dumps(texts).encode() + b"\n" + content + optimized, 1))

    return _register(library.library, len(concrete.outputs), structure, reads, to_keep=to_keep)


def _optimized(graphs: Sequence[Any], function: Any) -> bytes:
    """What the runtime makes of a function before it runs it, an ``OptimizedFunctionGraph``, by the graphs of its first
    call; nothing where it cannot be told.
    """
    if len(graphs) != 1:
        return b""
    return OptimizedFunctionGraph(
        name=function.signature.name,
        function_graph=graphs[0].post_optimization_graph,
        node_name_to_control_ret={node: name for name, node in function.control_ret.items()},
        ret_types=[output.type for output in function.signature.output_arg],
        num_return_nodes=len(function.signature.output_arg),
        source=OptimizedFunctionGraph.JIT,
        optimization_time_usecs=0,
    ).SerializeToString()


def _rename(functions: Sequence[Any], beginning: str) -> None:
    """Give functions names that none of another trace has, wherever they are called.

    TensorFlow numbers functions by process; two that differ with one name in one process would be an error, also where
    a program was read, is still held by a network, and is traced anew, for its file is gone. Its cache of optimized
    graphs knows a function by what stands before the last underscore.
    """
    names = {each.signature.name: f"{beginning}-{number}_" for number, each in enumerate(functions)}
    for function in functions:
        function.signature.name = names[function.signature.name]
        for node in function.node_def:
            node.op = names.get(node.op, node.op)
            for value in node.attr.values():
                for called in [value.func, *value.list.func]:
                    if called.name:
                        called.name = names.get(called.name, called.name)
