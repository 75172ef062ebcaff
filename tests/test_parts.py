"""Parts: options checked by name, paths, records, schedules."""

from dataclasses import dataclass
from typing import Any

import pytest

from moalign.errors import ConfigError, UnknownNameError
from moalign.parts import Linear, PerMember, bind, build, differences, find, get, part, put, register, spec


@register("test-shape", "round", test="tests/test_parts.py::test_build")
def round_shape(x: float, *, radius: float = 1.0) -> float:
    """A circle."""
    return x * radius


@dataclass(frozen=True)
class Inner:
    epsilon: float = 0.2
    shape: Any = part("test-shape", bind(round_shape))


@dataclass(frozen=True)
class Outer:
    name: str = "outer"
    inner: Any = Inner()
    terms: Any = None


def test_build() -> None:
    assert build("test-shape", "round", radius=3.0)(2.0) == 6.0
    assert build("test-shape", "moalign.parts:Linear", start=1.0, end=0.0).at(0.5) == 0.5
    with pytest.raises(UnknownNameError, match="no test-shape is called `rond`; did you mean round"):
        build("test-shape", "rond")
    with pytest.raises(UnknownNameError, match="has no option `radus`; did you mean radius"):
        build("test-shape", "round", radus=1.0)


def test_names_are_unique_per_kind() -> None:
    with pytest.raises(ConfigError, match="already a registered test-shape"):

        @register("test-shape", "round", test="tests/test_parts.py::test_build")
        def another() -> None: ...


def test_unknown_paper() -> None:
    with pytest.raises(ConfigError, match=r"not in bibliography\.json"):
        register("test-shape", "square", test="tests/test_parts.py::test_build", paper="nobody1900")(lambda: None)


def test_paths() -> None:
    root = Outer(terms={"a": Inner(epsilon=0.3)})
    assert get(root, "inner.epsilon") == 0.2
    assert get(put(root, "inner.shape.radius", 5.0), "inner.shape.radius") == 5.0
    assert get(put(root, "terms.a.epsilon", 0.4), "terms.a.epsilon") == 0.4
    assert get(root, "inner.epsilon") == 0.2  # the original is unchanged
    assert put(root, "inner.shape", "round").inner.shape == bind(round_shape)


def test_a_path_may_skip_levels_where_one_place_has_the_name() -> None:
    assert find(Outer(), "radius") == "inner.shape.radius"
    assert find(Outer(), "inner.radius") == "inner.shape.radius"
    with pytest.raises(ConfigError, match=r"could be inner\.epsilon, terms\.a\.epsilon"):
        find(Outer(terms={"a": Inner()}), "epsilon")
    with pytest.raises(UnknownNameError, match=r"nothing is called `nam`.*did you mean name"):
        find(Outer(), "nam")


def test_records_and_differences() -> None:
    record = spec(Outer())
    assert record["inner"] == {
        "part": record["inner"]["part"],
        "epsilon": 0.2,
        "shape": {"part": "round", "radius": 1.0},
    }
    other = spec(put(Outer(), "epsilon", 0.5))
    assert differences(record, other) == ["inner.epsilon: 0.2 -> 0.5"]


def test_a_function_is_recorded_by_address_and_source() -> None:
    record = spec(round_shape)
    assert record["call"].endswith("test_parts:round_shape") and len(record["sha256"]) == 12


def test_schedules() -> None:
    # half-way through a warm-up of 20 %, then down a line: (1 - (0.6 - 0.2) / 0.8) = 0.5
    assert Linear(2.0, 0.0, warmup=0.2).at(0.1) == 1.0
    assert Linear(1.0, 0.0, warmup=0.2).at(0.6) == pytest.approx(0.5)
    assert PerMember([1.0, 2.0]).values == (1.0, 2.0)
