"""What lies past a row's length: anything may, and nothing reads it but the mistakes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.case import HUGE, NOT_FINITE, Case, read_case, write_case
from common.cases.builtin import small_cases
from common.errors import InputError
from common.judging.agreement import judge
from common.judging.explanation import Explainer, Explanation
from common.judging.mistakes.every import mistakes
from common.judging.precision import DTYPES, has_finite_padding, rounded_case
from common.judging.yardstick import yardstick
from tests.cases import a_case


def nonfinite(case: Case) -> Case:
    return case.with_nonfinite_padding(np.random.default_rng(1), 10.0)


def finite_padding(case: Case, dtype: str) -> bool:
    return has_finite_padding(case.x, case.padding_mask(), dtype)


def with_x(case: Case, value: float, *index: int) -> Case:
    x = case.x.copy()
    x[index] = value
    return replace(case, x=x)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_case_file_may_hold_anything_in_the_padding_of_x(tmp_path: Path, value: float) -> None:
    file = tmp_path / "case.safetensors"
    case = with_x(a_case(lengths=(5, 3, 0)), value, 1, 3)
    write_case(case, file)
    read = read_case(file)
    np.testing.assert_array_equal(read.x, case.x)
    assert read.sha256() == case.sha256()


@pytest.mark.parametrize(
    ("lengths", "index"), [((5, 3, 0), (1, 2, 3)), (None, (2, 4, 3))], ids=["within its length", "without lengths"]
)
def test_elsewhere_x_must_be_finite(tmp_path: Path, lengths: tuple[int, ...] | None, index: tuple[int, ...]) -> None:
    file = tmp_path / "case.safetensors"
    write_case(with_x(a_case(lengths=lengths), np.nan, *index), file)
    with pytest.raises(InputError) as caught:
        read_case(file)
    assert str(caught.value) == f"{file}: inputs.x must be finite; got nan at {index}"


def test_nothing_else_may_hold_what_is_not_finite_past_a_length(tmp_path: Path) -> None:
    case = a_case(lengths=(5, 3, 0))
    case.cotangents["output"][1, 4, 0] = np.inf
    file = tmp_path / "case.safetensors"
    write_case(case, file)
    with pytest.raises(InputError, match=r"cotangents\.output must be finite; got inf at \(1, 4, 0\)"):
        read_case(file)


def test_nonfinite_padding_holds_every_kind_and_leaves_real_steps() -> None:
    case = a_case(lengths=(5, 3, 1), input_size=7)
    filled, padding = nonfinite(case), case.padding_mask()
    np.testing.assert_array_equal(filled.x[~padding], case.x[~padding])
    inside = filled.x[padding]
    assert np.isnan(inside).any(axis=1).all()
    assert {*NOT_FINITE[1:], *HUGE} < set(inside.ravel())
    ordinary = (np.abs(inside) < 1e3) & (inside != case.x[padding])
    assert inside.size / 6 < ordinary.sum() <= inside.size // 9 * 3 + 3
    one = a_case(batch=2, seq_len=2, lengths=(2, 1), input_size=1)
    assert np.isnan(nonfinite(one).x[1, 1, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_too_large_for_a_format_becomes_infinite_there_and_is_not_refused(dtype: str) -> None:
    largest = float(np.finfo(np.float64).max)
    case = with_x(with_x(a_case(), largest, 2, 3), np.nan, 2, 4)
    values = rounded_case(case, dtype).x
    assert (values[2, 3] == (largest if dtype == "float64" else np.inf)).all()
    assert np.isnan(values[2, 4]).all()
    assert not finite_padding(case, dtype)
    assert finite_padding(with_x(case, 1.0, 2, 4), dtype) == (dtype == "float64")
    assert finite_padding(a_case(lengths=None), dtype)
    assert finite_padding(a_case(), dtype)


def test_real_steps_too_large_for_a_format_are_refused_whatever_the_padding_holds() -> None:
    case = with_x(with_x(a_case(), 7e4, 0, 0, 0), np.nan, 2, 4)
    with pytest.raises(InputError, match=r"inputs must fit into float16; got 7e\+04$"):
        rounded_case(case, "float16")


READING = ("flipped over the padding", "lengths ignored", "lengths ignored in the reverse direction")


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mistake_that_reads_nonfinite_padding_is_caught_and_explained_without_a_warning(
    name: str, dtype: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yard = yardstick(nonfinite(a_case("gru")), dtype)
        mistake = next(each for each in mistakes(yard.case.spec) if each.name == name)
        with np.errstate(invalid="ignore"):
            result = mistake.results(yard.case, dtype)
        assert any(np.isnan(value).any() for value in result.values())
        assert not judge(result, yard).agrees
        assert Explainer().explain(result, yard).matches.split(" or ") == [name]


def test_results_that_are_nan_throughout_are_not_explained() -> None:
    yard = yardstick(nonfinite(a_case("lstm", num_layers=2, lengths=(1, 2, 4))), "float32")
    result = {name: np.full_like(value, np.nan) for name, value in yard.plain.items()}
    assert Explainer().explain(result, yard) == Explanation()


def test_the_truth_is_the_same_whatever_the_padding_of_a_builtin_case_holds() -> None:
    cases = [case for case in small_cases() if case.padding_mask().any() and case.seq_len < 100]
    assert len(cases) >= 15  # three of each cell: ragged, with an empty row, and wide
    for case in cases:
        finite, other = (yardstick(each, "float32") for each in (case, nonfinite(case)))
        for name in finite.truth:
            np.testing.assert_array_equal(other.truth[name], finite.truth[name])
            np.testing.assert_array_equal(other.allowance(name), finite.allowance(name))
