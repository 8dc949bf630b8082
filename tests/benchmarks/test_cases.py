"""Case files: the built-in sets hold what they promise, and a bad file ends in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.case_files import built_in_sets, load_set
from benchmarks.cases import BenchmarkCase, Spread, case_name
from common.errors import InputError
from common.models.batch import check_batch
from common.models.specification import Seq2Seq, SequenceModel, parameters
from common.specification import NUM_DIRECTIONS, Specification

ROOT = Path(__file__).resolve().parent.parent.parent
Shape = tuple[str, int, int, int, int, int]
"""Cell, seq_len, batch, input_size, hidden_size, num_layers."""

CASE = """
[[case]]
cell = "gru"
seq_len = 7
batch = 2
input_size = 3
hidden_size = 5
"""


def shapes(name: str) -> set[Shape]:
    return {
        (case.spec.cell, case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size, case.spec.num_layers)
        for case in load_set(name).cases
    }


def product(cell: str, seq_lens: list[int], batches: list[int], sizes: list[int]) -> set[Shape]:
    """DeepBench's cases: input_size is hidden_size."""
    return {(cell, seq_len, batch, size, size, 1) for seq_len in seq_lens for batch in batches for size in sizes}


def written(path: Path, text: str | bytes) -> str:
    file = path / "my.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


@pytest.mark.parametrize(("name", "cell"), [("laptop", "lstm"), ("smoke", "lstm")])
def test_a_set_has_cases_that_make_a_curve_of_each_size(name: str, cell: str) -> None:
    found = [shape for shape in shapes(name) if shape[0] == cell]
    for which in ("seq_len", "batch", "width"):
        families: dict[tuple[int, ...], int] = {}
        for _, seq_len, batch, input_size, hidden_size, _ in found:
            if input_size == hidden_size:
                sizes = {"seq_len": seq_len, "batch": batch, "width": hidden_size}
                others = tuple(size for size_name, size in sizes.items() if size_name != which)
                families[others] = families.get(others, 0) + 1
        assert max(families.values()) > 1, which


def test_laptop_has_seven_shapes_in_three_cells_one_ragged_case_and_the_points_of_curves() -> None:
    wanted = "10,1000,8,10 100,64,123,320 150,64,125,100 128,32,128,128 25,16,512,512 128,1,128,128 512,8,64,64"
    sizes = [tuple(int(size) for size in shape.split(",")) for shape in wanted.split()]
    found = load_set("laptop")
    full = [case for case in found.cases if not case.ragged]
    of_curves = [(32, 32, 128, 128), (512, 32, 128, 128), (128, 128, 128, 128), (128, 32, 256, 256)]
    assert {
        (case.spec.cell, case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size) for case in full
    } == {(cell, *shape) for cell in ("rnn_tanh", "gru", "lstm") for shape in sizes} | {
        ("lstm", *shape) for shape in of_curves
    }
    assert len(full) == 25
    assert len(found.cases) == 26
    assert found.passes == ("forward", "forward_backward")
    assert found.dtypes == ("float32",)
    assert found.implementations == ("*/native*", "*/tuned")


def test_smoke_is_a_part_of_laptop() -> None:
    assert {case.name for case in load_set("smoke").cases} < {case.name for case in load_set("laptop").cases}


def test_gpu_covers_what_decides_a_gpus_speed_in_at_most_30_cases() -> None:
    found = load_set("gpu")
    assert 20 <= len(found.cases) <= 30
    assert found.passes == ("forward", "forward_backward")
    laptop = {
        (case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size)
        for case in load_set("laptop").cases
        if case.spec.cell == "gru"
    }
    assert len(laptop) == 7
    mine = {(case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size) for case in found.cases}
    assert laptop < mine
    assert {256, 512, 1024, 2048} < {case.spec.hidden_size for case in found.cases}
    assert {1, 16, 32, 64, 128} < {case.batch for case in found.cases}
    assert {25, 100, 512, 1024} < {case.seq_len for case in found.cases}
    assert {case.spec.num_layers for case in found.cases} == {1, 4}
    assert {case.spec.cell for case in found.cases} == {"rnn_tanh", "gru", "lstm"}
    assert {case.spec.cell for case in found.cases if case.ragged} == {"gru", "lstm"}


def test_standard_has_every_published_case() -> None:
    assert shapes("standard") == {
        ("lstm", 100, 64, 123, 320, 1),  # Braun
        ("lstm", 1000, 32, 123, 320, 1),
        ("lstm", 1000, 32, 123, 320, 4),  # twice: full and ragged
        ("gru", 150, 64, 125, 100, 1),  # IMDB
        ("lstm", 100, 64, 512, 512, 1),  # fastrnns
        *product("lstm", [1024], [16], [16, 32, 64, 128, 256, 768]),  # FlashRNN
        ("lstm", 128, 32, 128, 128, 1),  # Keras
        ("lstm", 256, 64, 256, 256, 1),
        ("lstm", 512, 64, 256, 256, 1),
        ("lstm", 1024, 32, 512, 512, 1),
        ("lstm", 2058, 62, 16, 168, 1),  # torch's small hidden sizes
        ("lstm", 1981, 45, 56, 152, 4),
        ("lstm", 1125, 44, 40, 160, 1),
        ("lstm", 1314, 20, 344, 32, 3),
    }
    assert len(load_set("standard").cases) == 20
    (ragged,) = [case for case in load_set("standard").cases if case.ragged]
    assert ragged.lengths == Spread(low=500, high=1000)


def test_deepbench_has_every_training_and_server_case() -> None:
    training = (
        product("rnn_tanh", [50], [16, 32, 64, 128], [1760, 2048, 2560])
        | product("lstm", [25], [16, 32, 64, 128], [512, 1024, 2048, 4096])
        | product("lstm", [50], [8, 16, 32], [1536])
        | product("lstm", [150], [16, 32, 64], [256])
        | product("gru", [187, 375, 750, 1500], [32], [1536, 2048, 2560, 2816])
        | product("gru", [1500], [32, 64], [1024])
        | product("gru", [1], [32], [512])
    )
    server = {
        (cell, seq_len, batch, *rest)
        for cell, seq_len, _, *rest in training
        for batch in (1, 2, 4)
        if cell != "rnn_tanh"
    }
    assert (len(training), len(server)) == (53, 72)
    assert shapes("deepbench") == training | server
    found = load_set("deepbench")
    assert len(found.cases) == 125
    assert {case.batch for case in found.cases if found.passes_of(case) == ("forward",)} == {1, 2, 4}
    assert {found.passes_of(case) for case in found.cases if case.batch > 4} == {("forward", "forward_backward")}


def test_pipeline_trains_on_all_sequences_and_on_batches() -> None:
    found = load_set("pipeline")
    assert "train_step" in found.passes
    assert shapes("pipeline") == {
        (cell, 10, batch, 8, 10, 1) for cell in ("rnn_tanh", "gru", "lstm") for batch in (32, 128, 1000)
    }
    assert {case.classes for case in found.cases} == {5}


def test_systems_has_each_kind_of_system_and_the_decoders_cost_can_be_told() -> None:
    found = load_set("systems")
    systems = {case.name: case.system for case in found.cases}
    models = [system for system in systems.values() if isinstance(system, SequenceModel)]
    pairs = [system for system in systems.values() if isinstance(system, Seq2Seq)]
    assert len(models) + len(pairs) == len(found.cases)
    assert {model.readout for model in models} == {"steps", "final"}
    assert any(model.classes == model.num_embeddings for model in models)
    assert {(pair.attention, pair.decoder) for pair in pairs} == {
        (False, "gru"),
        (True, "gru"),
        (True, "bidirectional"),
    }
    # In all else the encoder–decoders are the same, so what an attention or a second direction costs shows.
    plain = {pair.model_copy(update={"attention": False, "attention_size": None, "decoder": "gru"}) for pair in pairs}
    assert len(plain) == 1
    assert len({(case.batch, case.seq_len, case.target_len) for case in found.cases if case.target_len}) == 1
    for case in found.cases:
        made = case.make_system()
        check_batch(made.spec, made.batch)


@pytest.mark.parametrize("name", ["deepbench", "gpu", "laptop", "pipeline", "smoke", "standard", "systems"])
def test_a_built_in_set_says_where_each_case_is_from_and_names_it_once(name: str) -> None:
    found = load_set(name)
    assert built_in_sets() == ["deepbench", "gpu", "laptop", "pipeline", "smoke", "standard", "systems"]
    assert found.name == name
    assert found.description
    assert all(case.source for case in found.cases)
    assert len({case.name for case in found.cases}) == len(found.cases)


def test_the_documented_example_means_the_cases_that_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    match = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert match
    found = load_set(written(tmp_path, match[1]))
    names = [case.name for case in found.cases]
    assert len(names) == 5
    assert all(f"`{name}`" in page for name in names)
    assert found.passes == ("forward", "train_step")
    counts = {name: len(load_set(name).cases) for name in built_in_sets()}
    assert all(f"| `{name}` | {count} |" in page for name, count in counts.items())


def test_a_name_tells_everything_unusual() -> None:
    spec = Specification(
        cell="gru", input_size=3, hidden_size=5, num_layers=2, bias=False, merge="sum", reset_after=False
    )
    assert case_name(spec, 7, 4, ragged=True) == "gru-T7-B4-I3-H5-L2-sum-no_bias-reset_before-ragged"


def test_the_same_name_makes_the_same_case_and_another_name_another(tmp_path: Path) -> None:
    (case,) = load_set(written(tmp_path, CASE)).cases
    (renamed,) = load_set(written(tmp_path, CASE + 'name = "other"')).cases
    assert case.make().sha256() == case.make().sha256()
    assert not np.array_equal(case.make().x, renamed.make().x)
    assert np.array_equal(case.training().labels, case.training().labels)
    # A seed that changed would make results of two versions of the suite incomparable.
    assert case.seed == 0x13D3A78D


def test_a_case_has_states_cotangents_and_what_a_train_step_needs(tmp_path: Path) -> None:
    (case,) = load_set(written(tmp_path, CASE.replace("gru", "lstm") + "classes = 3")).cases
    made = case.make()
    assert made.x.shape == (2, 7, 3)
    assert made.h_0 is not None
    assert made.c_0 is not None
    assert made.h_0.shape == (NUM_DIRECTIONS, 2, 5)
    assert made.cotangents.keys() == {"output", "h_n", "c_n"}
    training = case.training()
    assert training.weight.shape == (3, 10)
    assert training.bias.shape == (3,)
    assert training.labels.shape == (2, 7)
    assert set(np.unique(training.labels)) == {0, 1, 2}


def test_drawn_lengths_stay_in_their_range_and_one_row_is_full(tmp_path: Path) -> None:
    text = CASE.replace("batch = 2", "batch = 50").replace("seq_len = 7", "seq_len = 90")
    (case,) = load_set(written(tmp_path, text + "lengths = {low = 3, high = 6}")).cases
    lengths = case.drawn_lengths()
    assert lengths is not None
    assert sorted(set(lengths)) == [3, 4, 5, 6, 90]
    assert lengths.count(90) == 1
    assert case.real_steps() == sum(lengths)
    assert case.longest() == 90
    assert case.make().lengths is not None


def test_given_lengths_are_kept(tmp_path: Path) -> None:
    (case,) = load_set(written(tmp_path, CASE + "lengths = [5, 0]")).cases
    assert case.drawn_lengths() == (5, 0)
    assert (case.real_steps(), case.longest()) == (5, 5)
    assert case.name.endswith("-ragged")


SYSTEM = """
[[case]]
name = "translator"
seq_len = 7
batch = 3
target_len = 4
[case.system]
kind = "seq2seq"
source_size = 9
target_size = 6
embedding_size = 2
encoder = {cell = "gru", input_size = 2, hidden_size = 5, num_layers = 1, bias = true, merge = "concat"}
attention = false
"""
TAGGER = """
[[case]]
name = "tagger"
seq_len = 7
batch = 3
lengths = {low = 2, high = 3}
[case.system]
kind = "sequence"
num_embeddings = 9
readout = "steps"
classes = 4
rnn = {cell = "lstm", input_size = 2, hidden_size = 5, num_layers = 1, bias = true, merge = "concat"}
"""


def test_a_system_is_a_case_with_weights_and_a_batch_of_its_own(tmp_path: Path) -> None:
    found = load_set(written(tmp_path, SYSTEM + TAGGER + CASE))
    translator, tagger, layer = found.cases
    assert [found.passes_of(case) for case in found.cases] == [("train_step",), ("train_step",), found.passes]
    assert (translator.spec, tagger.spec) == (translator.system.encoder, tagger.system.rnn)  # type: ignore[union-attr]
    assert layer.system is None
    for case in (translator, tagger):
        made = case.make_system()
        assert made.spec == case.system
        check_batch(made.spec, made.batch)
        assert {name: value.shape for name, value in made.weights.items()} == parameters(made.spec)
        again = case.make_system()
        assert all(np.array_equal(value, again.weights[name]) for name, value in made.weights.items())
        assert all(np.array_equal(value, again.batch[name]) for name, value in made.batch.items())
    pairs = translator.make_system().batch
    assert (pairs["tokens"].shape, pairs["targets"].shape, set(pairs["lengths"])) == ((3, 7), (3, 4), {7})
    assert pairs["forced"].all()
    assert tuple(tagger.make_system().batch["lengths"]) == tagger.drawn_lengths()
    (renamed,) = load_set(written(tmp_path, TAGGER.replace('"tagger"', '"other"'))).cases
    assert not np.array_equal(renamed.make_system().batch["tokens"], tagger.make_system().batch["tokens"])


BAD_SYSTEMS = [
    ('name = "translator"\n', "", "case 1 must have the key 'name'; it is missing"),
    ("target_len = 4", "", "case 1: target_len must be given for an encoder–decoder, and there alone; got None"),
    ("batch = 3", "batch = [3, 4]", "case 1: batch should be a valid integer; got [3, 4]"),
    ("batch = 3", "batch = 3\nhidden_size = 5", "case 1 must have no unknown keys; got 'hidden_size'"),
    ("batch = 3", "batch = 3\nlengths = [7, 0, 2]", "case 1: lengths must be at least 1 in a system; got [7, 0, 2]"),
    ("batch = 3", "batch = 3\nlengths = {low = 0, high = 3}", "case 1: lengths must be at least 1 in a system"),
    ("batch = 3", "batch = 3\nlengths = [7, 2]", "case 1: lengths must have one number for each of the 3 rows, not 2"),
    ("batch = 3", "batch = 3\npasses = 'forward'", "case 1: passes must be train_step alone for a system"),
    ("batch = 3", "batch = 1_000_000", "must leave at most 4,294,967,296 numbers in weights and logits, not 24,"),
    ("attention = false", "attention = true", "case 1: system: seq2seq must have attention_size where attention is tr"),
    ('kind = "seq2seq"', 'kind = "gan"', "case 1: system"),
    ("merge =", "merged =", "case 1: system must have the key 'seq2seq.encoder.merge'; it is missing"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), BAD_SYSTEMS)
def test_a_bad_system_ends_in_one_sentence_with_file_table_and_key(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in SYSTEM
    with pytest.raises(InputError) as caught:
        load_set(written(tmp_path, SYSTEM.replace(old, new).replace("target_size = 6", "target_size = 6_000")))
    found = str(caught.value)
    assert found.startswith(str(tmp_path / "my.toml"))
    assert sentence in found
    assert "\n" not in found


COUNT = "must be a whole number from 1 to 1,000,000"
BAD = [
    ("hidden_size = 5", "hidden_size = 0", f"case 1: hidden_size {COUNT}, or a list of such; got 0"),
    ("hidden_size = 5", "hidden_size = [4, 4]", "case 1: hidden_size must name nothing twice; got [4, 4]"),
    ("hidden_size = 5", "hidden_size = []", f"case 1: hidden_size {COUNT}"),
    ("batch = 2", "batch = true", f"case 1: batch {COUNT}"),
    ("batch = 2", "batch = 2.0", f"case 1: batch {COUNT}"),
    ("batch = 2", "batch = {a = 1}", f"case 1: batch {COUNT}"),
    ("batch = 2", "", "case 1 must have the key 'batch'; it is missing"),
    ("batch = 2", "batch = 2\nnum_layers = 1_001", "case 1: num_layers must be a whole number from 1 to 1,000"),
    ("batch = 2", "batch = 2\nclasses = 1", "case 1: classes should be greater than or equal to 2; got 1"),
    ("batch = 2", "batch = 1_000_000_000", f"case 1: batch {COUNT}"),
    ("seq_len = 7\nbatch = 2", "seq_len = 100_000\nbatch = 100_000", "batch must leave at most 4,294,967,296 numbers"),
    ("input_size = 3", "input_size = 'batch'", f'case 1: input_size {COUNT} or "hidden_size"'),
    ('"gru"', '"gru2"', "case 1: cell must be one of rnn_tanh, rnn_relu, gru, lstm, or a list of such; got 'gru2'"),
    ('"gru"', '["gru", "lstm"]\nreset_after = false', "case 1: reset_after must be true unless cell is gru alone"),
    ('"gru"', '["gru", "lstm"]\nname = "one"', "name must be left out where lists make 2 cases; got 'one'"),
    ('"gru"', '"gru"\nname = "a/b"', "case 1: name"),
    ('"gru"', '"gru"\nfeatures = 3', "case 1 must have no unknown keys; got 'features'"),
    ("batch = 2", "batch = 2\nlengths = [5]", "case 1: lengths must have one number for each of the 2 rows, not 1"),
    ("batch = 2", "batch = 2\nlengths = [5, 8]", "case 1: lengths must lie between 0 and 7; got (5, 8)"),
    ("batch = 2", "batch = 2\nlengths = []", "case 1: lengths must be a list of whole numbers"),
    ("batch = 2", "batch = 2\nlengths = 5", "case 1: lengths must be a list of whole numbers"),
    ("batch = 2", "batch = 2\nlengths = [5, -1]", "case 1: lengths must be a list of whole numbers"),
    ("batch = 2", "batch = 2\nlengths = {low = 5}", "case 1: lengths must have the keys low and high; got {'low': 5}"),
    ("batch = 2", "batch = 2\nlengths = {low = 5, high = 3}", "case 1: lengths must have 0 ≤ low ≤ high ≤ 7"),
    ("batch = 2", "batch = 2\npasses = 'backward'", "passes must be one of forward, forward_backward, train_step"),
    ("[[case]]", "passes = []\n[[case]]", "passes must be one of forward"),
    ("[[case]]", "dtypes = ['float31']\n[[case]]", "dtypes must be one of float16, bfloat16, float32, float64"),
    ("[[case]]", "implementations = [3]\n[[case]]", "implementations must be a pattern"),
    ("[[case]]", "lane = 'fast'\n[[case]]", "must have no unknown keys; got 'lane'"),
    ("[[case]]", "[case]", "case should be a valid list"),
    ("[[case]]", "[[case", "must be TOML; got:"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), BAD)
def test_a_bad_file_ends_in_one_sentence_with_file_table_and_key(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in CASE
    with pytest.raises(InputError) as caught:
        load_set(written(tmp_path, CASE.replace(old, new)))
    found = str(caught.value)
    assert found.startswith(str(tmp_path / "my.toml"))
    assert sentence in found
    assert "\n" not in found


def test_the_table_with_the_fault_is_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"my\.toml: case 2: hidden_size must be"):
        load_set(written(tmp_path, CASE + CASE.replace("hidden_size = 5", 'hidden_size = "5"')))


def test_a_file_without_cases_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must have at least one \[\[case\]\]"):
        load_set(written(tmp_path, 'description = "nothing"'))
    with pytest.raises(InputError, match=r"a name of its own; got 'gru-T7-B2-I3-H5' 2 times"):
        load_set(written(tmp_path, CASE + CASE))


def test_lists_that_make_too_many_cases_are_refused_before_they_are_made(tmp_path: Path) -> None:
    many = str(list(range(1, 1001)))
    text = CASE.replace("seq_len = 7", f"seq_len = {many}").replace("hidden_size = 5", f"hidden_size = {many}")
    with pytest.raises(InputError, match=r"case 1 must mean at most 10,000 cases; got lists that make 1,000,000"):
        load_set(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_set(str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match="must be a readable TOML file; got: Is a directory"):
        load_set(str(tmp_path))
    with pytest.raises(InputError, match="must be UTF-8; got the byte 0xff"):
        load_set(written(tmp_path, b"description = '\xff'"))
    with pytest.raises(InputError, match="must be TOML"):
        load_set(written(tmp_path, "a = " + "[" * 5000))
    with pytest.raises(
        InputError, match="--cases must name one of deepbench, gpu, laptop, pipeline, smoke, standard, systems, or"
    ):
        load_set("lapto")


def test_a_case_can_be_made_without_a_file() -> None:
    spec = Specification(cell="lstm", input_size=3, hidden_size=5, num_layers=1, bias=True, merge="concat")
    case = BenchmarkCase(name="mine", spec=spec, seq_len=7, batch=2)
    assert case.make().name == "mine"
