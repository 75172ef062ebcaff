"""The static picture: a valid SVG with every point where it belongs."""

import xml.etree.ElementTree as ET

import pytest

from moalign.explore import front_svg
from moalign.explore._picture import ticks
from moalign.fronts import Front, Objective

SVG = "{http://www.w3.org/2000/svg}"
OBJECTIVES = ["right", Objective("tokens", maximize=False)]


def circles(text: str) -> list[tuple[float, float]]:
    found = ET.fromstring(text).iter(f"{SVG}circle")
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in found if c.attrib["class"] == "point"]


def test_better_is_up_and_right():
    front = Front.from_frame({"right": [0.2, 0.9], "tokens": [4.0, 20.0]}, OBJECTIVES)
    (left, high), (right, low) = circles(front_svg(front))
    assert left < right and high < low  # y grows downwards, and fewer tokens are better


def test_places_by_hand():
    # an axis from 0 to 1 with 7 % of air on both sides, 250 wide: 0 at 250 * .07 / 1.14
    front = Front.from_frame({"a": [0.0, 1.0], "b": [1.0, 0.0]}, ["a", "b"])
    assert circles(front_svg(front)) == [(15.4, 15.4), (234.6, 234.6)]


def test_baselines_names_and_three_objectives():
    table = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.5, 0.4], "a_stderr": [0.1, 0.1]}
    front = Front.from_frame(table, list("abc"))
    text = front_svg(front, {"<fixed> & linear": front}, name="study")
    root = ET.fromstring(text)
    assert len(circles(text)) == 6  # two points in three panels
    assert len([p for p in root.iter(f"{SVG}path") if p.attrib.get("class") == "point"]) == 6
    assert {"study", "<fixed> & linear"} <= {t.text for t in root.iter(f"{SVG}text")}


def test_one_point_and_equal_values_are_drawn():
    assert len(circles(front_svg(Front.from_frame({"a": [0.0], "b": [3.0]}, ["a", "b"])))) == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3.0, 29.0, [10, 20]), (-0.02, 0.021, [-0.02, -0.01, 0, 0.01, 0.02])],
)
def test_ticks(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
