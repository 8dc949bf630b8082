"""Claims on what takes how long."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cases.case import PASSES_OF_SYSTEM, BenchmarkCase, Spread, case_name
from benchmarks.claims.claim import NATIVE, RAGGED, Claim, Point, Rule, in_each_framework
from benchmarks.claims.pictures import curves
from benchmarks.claims.timing import TWIN, Variant, time_side_by_side
from benchmarks.claims.workshop import Workshop
from common.models.specification import Seq2Seq
from common.specification import MERGES, Cell, Merge, Specification
from common.weights import count

NOISE = 0.05
"""Ratios this near to 1 say nothing."""
FASTER, SLOWER = 1 - NOISE, 1 + NOISE
"""Ratios beyond which a time is faster, or slower, than the noise."""
SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE = 100, 32, 64, 128
"""Sizes of a layer that is timed: steps, rows, features, and units of a direction."""
LEAST = {75: "75 to 100 steps", 50: "50 to 100 steps", 25: "25 to 100 steps", 1: "1 to 100 steps"}
"""The names of the spreads of lengths that packing is timed with, by their least lengths."""
SHAPES = {"100 steps × 32 rows × 128 units": (100, 32, 64, 128), "10 × 1000 × 10": (10, 1000, 8, 10)}
"""The shapes that cells are compared at: steps, rows, features and units, by their names."""
SHAPES |= {"128 × 1 × 128": (128, 1, 128, 128)}


def layer_case(
    cell: Cell,
    sizes: tuple[int, int, int, int],
    *,
    lengths: Spread | None = None,
    num_layers: int = 1,
    merge: Merge | None = "concat",
) -> BenchmarkCase:
    """A bidirectional layer, or one of one direction without a merge, to be timed; ``sizes`` are seq_len, batch,
    input_size, hidden_size.
    """
    seq_len, batch, input_size, hidden_size = sizes
    spec = Specification(
        cell=cell,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        bias=True,
        merge=merge,
        num_directions=1 if merge is None else 2,
    )
    name = case_name(spec, seq_len, batch, lengths is not None)
    name = name if lengths is None else f"{name}-from-{lengths.low}"
    return BenchmarkCase(name=name, spec=spec, seq_len=seq_len, batch=batch, lengths=lengths)


def own(name: str) -> str:
    """The implementation of ``framework/implementation``."""
    return name.partition("/")[2]


def against_first(workshop: Workshop, framework: str, variants: Sequence[Variant], **place: str) -> list[Point]:
    """A point for each variant but the first, with its time over the first one's; and one for the first again."""
    times = time_side_by_side(workshop, framework, variants)
    points = []
    for name, timed in times.items():
        if name == variants[0].name:
            continue
        numbers = timed.numbers("twin_ratio" if name == TWIN else "ratio") | {"ms_of_the_first": 0.0}
        numbers["ms_of_the_first"] = 1e3 * times[variants[0].name].seconds
        points.append(Point(where={"framework": framework, **place, "what": name}, numbers=numbers))
    return points


def _packing(workshop: Workshop, framework: str) -> list[Point]:
    """The time with lengths over that of the padded batch, by how much of it is padding."""
    points = []
    sizes = (SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE)
    for cell in ("gru", "lstm"):
        full = layer_case(cell, sizes)
        variants = [Variant("padded to 100 steps", full, own(NATIVE[framework]))]
        padding = {}
        for low, name in LEAST.items():
            case = layer_case(cell, sizes, lengths=Spread(low=low, high=SEQ_LEN))
            padding[name] = 1 - case.real_steps() / (case.batch * case.seq_len)
            variants.append(Variant(name, case, own(RAGGED[framework])))
        for point in against_first(workshop, framework, variants, cell=cell):
            what = str(point.where["what"])
            also = {"padding": padding[what]} if what in padding else {}
            points.append(point.model_copy(update={"numbers": point.numbers | also}))
    return points


def _draw_packing(points: Sequence[Point]) -> bytes:
    """The time with lengths over the part of the batch that is padding, a line for each framework and cell."""
    return curves(
        [point for point in points if "padding" in point.numbers],
        across="padding",
        number="ratio",
        line=("framework", "cell"),
        x_label="part of the padded batch that is padding",
        y_label="time over that of the padded batch",
        log_x=False,
        level=1.0,
    )


def _gru_for_lstm(workshop: Workshop, framework: str) -> list[Point]:
    """A GRU's time over an LSTM's at each shape."""
    points = []
    for shape, sizes in SHAPES.items():
        variants = [Variant(cell, layer_case(cell, sizes), own(NATIVE[framework])) for cell in ("lstm", "gru")]
        points += against_first(workshop, framework, variants, shape=shape)
    return points


def _merges(workshop: Workshop, framework: str) -> list[Point]:
    """The time of two layers with each merge over that with concat."""
    sizes = (SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE)
    cases = {merge: layer_case("gru", sizes, num_layers=2, merge=merge) for merge in ("concat", *MERGES)}
    variants = [Variant(merge, case, own(NATIVE[framework])) for merge, case in cases.items()]
    return against_first(workshop, framework, variants)


def _by_hand(workshop: Workshop, framework: str) -> list[Point]:
    """The time of the equations step by step over that of the framework's own layer."""
    points = []
    for cell in ("gru", "lstm"):
        case = layer_case(cell, (SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE))
        variants = [Variant(name, case, name) for name in (own(NATIVE[framework]), "scratch")]
        points += against_first(workshop, framework, variants, cell=cell)
    return points


def narrower_size(cell: Cell, input_size: int, hidden_size: int) -> int:
    """The most units of each of two layers that have together no more parameters than one of ``hidden_size``."""

    def parameters(units: int, num_layers: int) -> int:
        return count(layer_case(cell, (1, 1, input_size, units), num_layers=num_layers).spec)

    return max(units for units in range(1, hidden_size) if parameters(units, 2) <= parameters(hidden_size, 1))


def _two_narrower(workshop: Workshop, framework: str) -> list[Point]:
    """The time of two narrower layers over that of one with as many parameters."""
    points = []
    for cell in ("gru", "lstm"):
        narrow = narrower_size(cell, INPUT_SIZE, HIDDEN_SIZE)
        one = layer_case(cell, (SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE))
        two = layer_case(cell, (SEQ_LEN, BATCH, INPUT_SIZE, narrow), num_layers=2)
        names = (f"one layer of {HIDDEN_SIZE}", f"two layers of {narrow}")
        variants = [Variant(name, case, own(NATIVE[framework])) for name, case in zip(names, (one, two), strict=True)]
        points += against_first(workshop, framework, variants, cell=cell)
    return points


def attention_case(source_len: int, attention: bool) -> BenchmarkCase:
    """A train step of an encoder–decoder with or without attention, targets as long as a word's phonemes."""
    encoder = Specification(cell="gru", input_size=32, hidden_size=64, num_layers=1, bias=True, merge="concat")
    system = Seq2Seq(
        source_size=30,
        target_size=42,
        embedding_size=32,
        encoder=encoder,
        attention=attention,
        attention_size=64 if attention else None,
    )
    name = f"seq2seq-T{source_len}-{'with' if attention else 'without'}-attention"
    return BenchmarkCase(
        name=name,
        spec=encoder,
        system=system,
        target_len=10,
        seq_len=source_len,
        batch=64,
        passes=PASSES_OF_SYSTEM,
    )


def _attention(workshop: Workshop, framework: str) -> list[Point]:
    """The time of a training step with attention over that without, for short and for long sources."""
    points = []
    for source_len in (10, 80):
        variants = [
            Variant(name, attention_case(source_len, name == "with attention"), own(NATIVE[framework]), "train_step")
            for name in ("without attention", "with attention")
        ]
        points += against_first(workshop, framework, variants, source=f"{source_len} steps")
    return points


CLAIMS = (
    Claim(
        name="packing-saves-time",
        module=__name__,
        kind="time",
        sentence="Packing rows of unequal length saves the time that the padding would take.",
        where="tutorials on pack_padded_sequence, masks and length bucketing",
        measured="Forward and backward of each framework's own layer, 32 rows of at most 100 steps, 64 features, 128 "
        "units: full rows without lengths against rows of four spreads of lengths with them (MXNet's own layer takes "
        "none on a CPU: its cells).",
        rule=Rule("ratio", "the time with lengths over that of the padded batch", "below", FASTER, SLOWER),
        parts=in_each_framework(_packing),
        limits="How much of the batch has to be padding before it pays is in the picture.",
        picture=_draw_packing,
    ),
    Claim(
        name="grus-are-cheaper-than-lstms",
        module=__name__,
        kind="time",
        sentence="A GRU has three gates where an LSTM has four, so it is faster.",
        where="comparisons of the two cells",
        measured="Forward and backward of each framework's own bidirectional layer, a GRU against an LSTM of the same "
        "sizes, at three shapes. A GRU has three quarters of the parameters.",
        rule=Rule("ratio", "the GRU's time over the LSTM's", "below", FASTER, SLOWER),
        parts=in_each_framework(_gru_for_lstm),
        limits="Fewer products pay only where both cells have kernels of one kind.",
    ),
    Claim(
        name="summing-the-halves-is-cheaper",
        module=__name__,
        kind="time",
        sentence="Adding, averaging or multiplying the two halves is cheaper than concatenating them.",
        where="tutorials on merge_mode",
        measured="Forward and backward of two bidirectional GRU layers of 128 units in each framework: each merge "
        "against concat; the second layer reads half as much.",
        rule=Rule("ratio", "the time over that of concat", "below", FASTER, SLOWER),
        parts=in_each_framework(_merges),
        limits="Where the framework has no such merge, its halves are merged after each layer.",
    ),
    Claim(
        name="a-loop-written-by-hand-is-slower",
        module=__name__,
        kind="time",
        sentence="A cell written out step by step in the framework's operations is slower than its own layer.",
        where="from-scratch tutorials",
        measured="Forward and backward: the equations step by step (scratch) against each framework's own layer.",
        rule=Rule("ratio", "the time of the equations over that of the layer", "above", SLOWER, FASTER),
        parts=in_each_framework(_by_hand),
        limits="By how much says what the framework's own kernel is worth.",
    ),
    Claim(
        name="two-narrower-layers-are-slower",
        module=__name__,
        kind="time",
        sentence="Two stacked layers take longer than one wide layer with as many parameters.",
        where="tutorials on stacking",
        measured="Forward and backward of each framework's own layer: two layers against one of 128 units, the two "
        "narrower ones with together as many parameters.",
        rule=Rule("ratio", "the time of the two over that of the one", "above", SLOWER, FASTER),
        parts=in_each_framework(_two_narrower),
        limits="Two layers are two chains of steps, one after the other; each step is smaller.",
    ),
    Claim(
        name="attention-costs-little",
        module=__name__,
        kind="time",
        sentence="Attention costs next to nothing beside the recurrent layers.",
        where="encoder–decoder tutorials that add Bahdanau attention",
        measured="A training step of a GRU encoder–decoder (64 rows, 64 units, 10 target steps) with and without "
        "attention, for sources of 10 and of 80 steps, in each framework.",
        rule=Rule("ratio", "the time of a step with attention over that without", "below", 1.1),
        parts=in_each_framework(_attention),
        limits="It is paid at every target step for every source step.",
    ),
)
"""The claims on what takes how long, in the ledger's order."""
