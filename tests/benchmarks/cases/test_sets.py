"""The built-in case sets hold what they promise."""

from __future__ import annotations

import pytest

from benchmarks.cases.case import Spread
from benchmarks.cases.files import built_in_sets, load_set
from common.models.batch import check_batch
from common.models.specification import Seq2Seq, SequenceModel

Shape = tuple[str, int, int, int, int, int]
"""Cell, seq_len, batch, input_size, hidden_size, num_layers."""


def shapes(name: str) -> set[Shape]:
    return {
        (case.spec.cell, case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size, case.spec.num_layers)
        for case in load_set(name).cases
    }


def product(cell: str, seq_lens: list[int], batches: list[int], sizes: list[int]) -> set[Shape]:
    """DeepBench's cases: input_size is hidden_size."""
    return {(cell, seq_len, batch, size, size, 1) for seq_len in seq_lens for batch in batches for size in sizes}


@pytest.mark.parametrize(("name", "cell"), [("laptop", "lstm"), ("smoke", "lstm")])
def test_a_set_has_cases_that_make_a_curve_of_each_size(name: str, cell: str) -> None:
    of_cell = [shape for shape in shapes(name) if shape[0] == cell]
    for which in ("seq_len", "batch", "width"):
        families: dict[tuple[int, ...], int] = {}
        for _, seq_len, batch, input_size, hidden_size, _ in of_cell:
            if input_size == hidden_size:
                sizes = {"seq_len": seq_len, "batch": batch, "width": hidden_size}
                others = tuple(size for size_name, size in sizes.items() if size_name != which)
                families[others] = families.get(others, 0) + 1
        assert max(families.values()) > 1, which


def test_laptop_has_seven_shapes_in_three_cells_one_ragged_case_and_the_points_of_curves() -> None:
    wanted = "10,1000,8,10 100,64,123,320 150,64,125,100 128,32,128,128 25,16,512,512 128,1,128,128 512,8,64,64"
    sizes = [tuple(int(size) for size in shape.split(",")) for shape in wanted.split()]
    loaded = load_set("laptop")
    full = [case for case in loaded.cases if not case.ragged]
    of_curves = [(32, 1, 128, 128), (128, 8, 128, 128), (128, 1, 256, 256)]
    assert {
        (case.spec.cell, case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size) for case in full
    } == {(cell, *shape) for cell in ("rnn_tanh", "gru", "lstm") for shape in sizes} | {
        ("lstm", *shape) for shape in of_curves
    }
    assert len(full) == 24
    assert len(loaded.cases) == 25
    assert loaded.passes == ("forward", "forward_backward")
    assert loaded.dtypes == ("float32",)
    assert loaded.implementations == ("*/native*", "*/tuned")


def test_smoke_is_a_part_of_laptop() -> None:
    assert {case.name for case in load_set("smoke").cases} < {case.name for case in load_set("laptop").cases}


def test_gpu_covers_what_decides_a_gpus_speed_in_at_most_30_cases() -> None:
    loaded = load_set("gpu")
    assert 20 <= len(loaded.cases) <= 30
    assert loaded.passes == ("forward", "forward_backward")
    laptop = {
        (case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size)
        for case in load_set("laptop").cases
        if case.spec.cell == "gru"
    }
    assert len(laptop) == 7
    mine = {(case.seq_len, case.batch, case.spec.input_size, case.spec.hidden_size) for case in loaded.cases}
    assert laptop < mine
    assert {256, 512, 1024, 2048} < {case.spec.hidden_size for case in loaded.cases}
    assert {1, 16, 32, 64, 128} < {case.batch for case in loaded.cases}
    assert {25, 100, 512, 1024} < {case.seq_len for case in loaded.cases}
    assert {case.spec.num_layers for case in loaded.cases} == {1, 4}
    assert {case.spec.cell for case in loaded.cases} == {"rnn_tanh", "gru", "lstm"}
    assert {case.spec.cell for case in loaded.cases if case.ragged} == {"gru", "lstm"}


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
    loaded = load_set("deepbench")
    assert len(loaded.cases) == 125
    assert {case.batch for case in loaded.cases if loaded.passes_of(case) == ("forward",)} == {1, 2, 4}
    assert {loaded.passes_of(case) for case in loaded.cases if case.batch > 4} == {("forward", "forward_backward")}


def test_pipeline_trains_on_all_sequences_and_on_batches() -> None:
    loaded = load_set("pipeline")
    assert "train_step" in loaded.passes
    assert shapes("pipeline") == {
        (cell, 10, batch, 8, 10, 1) for cell in ("rnn_tanh", "gru", "lstm") for batch in (32, 128, 1000)
    }
    assert {case.classes for case in loaded.cases} == {5}


def test_systems_has_each_kind_of_system_and_the_decoders_cost_can_be_told() -> None:
    loaded = load_set("systems")
    systems = {case.name: case.system for case in loaded.cases}
    models = [system for system in systems.values() if isinstance(system, SequenceModel)]
    pairs = [system for system in systems.values() if isinstance(system, Seq2Seq)]
    assert len(models) + len(pairs) == len(loaded.cases)
    assert {model.readout for model in models} == {"steps", "final"}
    # What a CRF costs shows: in all else it is the tagger beside it.
    softmax, chain = systems["tagger-lstm"], systems["tagger-lstm-crf"]
    assert softmax is not None
    assert chain == softmax.model_copy(update={"head": "crf"})
    assert any(model.classes == model.num_embeddings for model in models)
    assert {(pair.attention, pair.decoder) for pair in pairs} == {
        (False, "gru"),
        (True, "gru"),
        (True, "bidirectional"),
    }
    # In all else the encoder–decoders are the same, so what an attention or a second direction costs shows.
    plain = {pair.model_copy(update={"attention": False, "attention_size": None, "decoder": "gru"}) for pair in pairs}
    assert len(plain) == 1
    assert len({(case.batch, case.seq_len, case.target_len) for case in loaded.cases if case.target_len}) == 1
    for case in loaded.cases:
        made = case.make_system()
        check_batch(made.spec, made.batch)


@pytest.mark.parametrize("name", ["deepbench", "gpu", "laptop", "pipeline", "smoke", "standard", "systems"])
def test_a_built_in_set_says_where_each_case_is_from_and_names_it_once(name: str) -> None:
    loaded = load_set(name)
    assert built_in_sets() == ["deepbench", "gpu", "laptop", "pipeline", "smoke", "standard", "systems"]
    assert loaded.name == name
    assert loaded.description
    assert all(case.source for case in loaded.cases)
    assert len({case.name for case in loaded.cases}) == len(loaded.cases)
