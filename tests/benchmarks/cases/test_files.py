"""Case files mean what the page says, and a bad one ends in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases.case import BenchmarkCase, case_name
from benchmarks.cases.files import built_in_sets, load_set
from common.errors import InputError
from common.models.batch import check_batch
from common.models.specification import parameters
from common.specification import NUM_DIRECTIONS, Specification

ROOT = Path(__file__).resolve().parents[3]

CASE = """
[[case]]
cell = "gru"
seq_len = 7
batch = 2
input_size = 3
hidden_size = 5
"""


def written(path: Path, text: str | bytes) -> str:
    file = path / "my.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def test_the_documented_example_means_the_cases_that_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    match = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert match
    loaded = load_set(written(tmp_path, match[1]))
    names = [case.name for case in loaded.cases]
    assert len(names) == 5
    assert all(f"`{name}`" in page for name in names)
    assert loaded.passes == ("forward", "train_step")
    counts = {name: len(load_set(name).cases) for name in built_in_sets()}
    assert all(f"| `{name}` | {count} |" in page for name, count in counts.items())


def test_a_name_tells_everything_unusual() -> None:
    spec = Specification(
        cell="gru", input_size=3, hidden_size=5, num_layers=2, bias=False, merge="sum", reset_after=False
    )
    assert case_name(spec, 7, 4, ragged=True) == "gru-T7-B4-I3-H5-L2-sum-no_bias-reset_before-ragged"


def test_one_direction_beside_two(tmp_path: Path) -> None:
    """A table may mean both; one direction merges nothing."""
    loaded = load_set(written(tmp_path, CASE + "num_directions = [2, 1]\nnum_layers = [1, 2]")).cases
    assert [case.name for case in loaded] == [
        "gru-T7-B2-I3-H5",
        "gru-T7-B2-I3-H5-one_direction",
        "gru-T7-B2-I3-H5-L2",
        "gru-T7-B2-I3-H5-L2-one_direction",
    ]
    one = loaded[3].make()
    assert one.h_0 is not None
    assert (one.h_0.shape, one.cotangents["output"].shape) == ((2, 2, 5), (2, 7, 5))
    assert one.weights["weight_ih_l1"].shape == (15, 5)
    assert loaded[3].training().weight.shape == (5, 5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('num_directions = 1\nmerge = "sum"', "case 1 must have no merge where num_directions is 1"),
        ("num_directions = 3", "num_directions must be 1 or 2, or a list of such"),
        ("num_directions = true", "num_directions must be 1 or 2, or a list of such"),
    ],
)
def test_directions_that_cannot_be_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_set(written(tmp_path, CASE + text))


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
    loaded = load_set(written(tmp_path, SYSTEM + TAGGER + CASE))
    translator, tagger, layer = loaded.cases
    assert [loaded.passes_of(case) for case in loaded.cases] == [("train_step",), ("train_step",), loaded.passes]
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
    ("merge =", "merged =", "case 1: system must have no unknown keys; got 'seq2seq.encoder.merged'"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), BAD_SYSTEMS)
def test_a_bad_system_ends_in_one_sentence_with_file_table_and_key(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    assert old in SYSTEM
    with pytest.raises(InputError) as caught:
        load_set(written(tmp_path, SYSTEM.replace(old, new).replace("target_size = 6", "target_size = 6_000")))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "my.toml"))
    assert sentence in message
    assert "\n" not in message


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
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "my.toml"))
    assert sentence in message
    assert "\n" not in message


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
