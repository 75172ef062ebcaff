"""A front as data: selecting, tables, files."""

import io
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from rich.console import Console

from moalign.errors import ConfigError, RunError, UnknownNameError
from moalign.fronts import Front, Objective, build_front, marks, panels, print_front

TOKENS = Objective("tokens", maximize=False)
TABLE = pd.DataFrame({"id": ["a", "b", "c", "d"], "right": [0.9, 0.75, 0.5, 0.4], "tokens": [20.0, 18.0, 8.0, 10.0]})


@pytest.fixture
def front() -> Front:
    return Front.from_frame(TABLE, ["right", TOKENS], reference_point={"right": 0.0, "tokens": 32.0})


@pytest.fixture
def built(evaluation, objectives, tmp_path) -> Front:
    dev = evaluation("dev")
    return build_front(
        dev,
        evaluation("test"),
        objectives=objectives,
        preferences=torch.full((4, 2), 0.5),
        kinds=["member"] * 4,
        step=90,
        seed=0,
        reference_point={"right": 0.0, "tokens": 32.0},
        paths={m: tmp_path / "run" / "points" / m for m in dev.members},
    )


def test_a_front_is_a_sequence_of_points(front):
    assert [p.id for p in front] == ["a", "b", "c"] and [p.id for p in front.dominated] == ["d"]
    assert len(front) == 3 and front[-1].id == "c" and [p.id for p in front[:2]] == ["a", "b"]
    assert front.point("d") is front.dominated[0]
    assert repr(front) == "Front(3 points and 1 dominated; right, tokens on table)"
    with pytest.raises(UnknownNameError, match="no point `e`"):
        front.point("e")


def test_select_limits_and_maximize(front):
    assert front.select(maximize="right").id == "a"
    assert front.select(maximize="tokens").id == "c"  # the best of a cost is its smallest
    assert front.select(at_most={"tokens": 18}, maximize="right").id == "b"
    assert front.select(at_least={"right": 0.6}, maximize="tokens").id == "b"
    assert front.select(at_least={"right": 0.6}, at_most={"tokens": 18.5}).id == "b"


def test_select_by_weights(front):
    # scaled regrets (right, tokens): a (0, 1), b (.375, .8333), c (1, 0)
    assert front.select({"right": 0.7, "tokens": 0.3}).id == "b"  # largest: a .3, b .2625, c .7
    assert front.select({"right": 0.7, "tokens": 0.3}, method="linear").id == "a"  # sums: a .3, b .5125, c .7
    assert front.select({"right": 2, "tokens": 98}).id == "c"
    assert front.select({"right": 1}).id == "a"
    assert front.select().id == "b"  # all alike: a .5, b .4167, c .5


def test_chebyshev_ties_go_to_the_smaller_sum():
    table = {"x": [1.0, 0.5, 0.5, 0.0], "y": [0.0, 0.5, 0.7, 1.0], "z": [0.0, 0.0, 1.0, 1.0]}
    front = Front.from_frame(table, ["x", "y", "z"])
    # weighted regrets of "2": x .25, y .15, z 0; the point "1" is dominated; nothing else is as low as .25
    assert [p.id for p in front] == ["0", "2", "3"]
    assert front.select({"x": 0.5, "y": 0.5}).id == "2"


def test_select_says_why_nothing_qualifies(front):
    with pytest.raises(ConfigError, match=r"`right` >= 0.95 \(the nearest is 0.9 at a\)"):
        front.select(at_least={"right": 0.95})
    with pytest.raises(ConfigError, match=r"`tokens` <= 5 \(the nearest is 8 at c\)"):
        front.select(at_most={"tokens": 5})
    with pytest.raises(ConfigError, match=r"`right` >= 0.8 and `tokens` <= 10 at once"):
        front.select(at_least={"right": 0.8}, at_most={"tokens": 10})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximize": "rihgt"}, "no objective `rihgt`; did you mean right"),
        ({"at_least": {"tokns": 1}}, "no objective `tokns`"),
        ({"weights": {"right": 1.0}, "maximize": "right"}, "two ways to choose"),
        ({"weights": {"right": -1.0, "tokens": 2.0}}, "must be at least 0"),
        ({"weights": {"right": 0.0}}, "must be at least 0"),
        ({"method": "quadratic"}, "`method` is 'quadratic'"),
    ],
)
def test_select_refuses(front, options, message):
    with pytest.raises(ConfigError, match=message):
        front.select(**options)


def test_missing_values_never_qualify():
    front = Front.from_frame(
        {"a": [1.0, 0.5], "b": [0.0, 1.0], "c": [math.nan, 1.0]}, ["a", "b", Objective("c", optimize=False)]
    )
    assert len(front) == 2
    assert front.select(at_least={"c": 0.0}).id == "1"
    assert front.select(maximize="c").id == "1"
    with pytest.raises(ConfigError, match="no point that qualifies has a value of `c`"):
        front.select(at_least={"a": 0.9}, maximize="c")


def test_frame_roundtrip(front, built):
    frame = built.to_frame()
    assert frame["id"].tolist() == ["m00", "m01", "m03", "m02"]
    assert frame["front"].tolist() == [True, True, True, False]
    assert frame["tokens"].tolist() == pytest.approx([20, 8, 14, 10])
    again = Front.from_frame(frame, built.objectives, reference_point=built.reference_point)
    assert [p.id for p in again] == ["m00", "m01", "m03"]
    assert again.hypervolume().value == pytest.approx(built.hypervolume().value)
    with pytest.raises(ConfigError, match="no column clarity; it has id, right, tokens"):
        Front.from_frame(TABLE, ["right", "clarity"])


def test_json_roundtrip_and_a_moved_directory(built, tmp_path):
    (tmp_path / "run").mkdir()
    file = built.save(tmp_path / "run" / "front.json")
    again = Front.from_json(file)
    assert again == built
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = Front.from_json(tmp_path / "moved" / "front.json")
    assert moved[0].path == tmp_path / "moved" / "points" / "m00"
    record = json.loads((tmp_path / "moved" / "front.json").read_text())
    assert record["points"][0]["path"] == "points/m00"
    assert record["hypervolume"]["stderr"] == built.hypervolume().stderr


def test_json_keeps_what_is_missing(tmp_path):
    front = Front.from_frame({"a": [1.0, math.nan]}, ["a"], reference_point={"a": 0.0})
    again = Front.from_json(front.save(tmp_path / "front.json"))
    assert math.isnan(again.dominated[0].values["a"]) and math.isnan(again[0].stderr["a"])
    assert math.isnan(again.hypervolume().stderr) and again.hypervolume().value == 1.0
    (tmp_path / "other.json").write_text('{"points": []}')
    with pytest.raises(RunError, match="not a front of this version"):
        Front.from_json(tmp_path / "other.json")


def test_print_shows_values_errors_and_marks(built, evaluation, objectives):
    text = io.StringIO()
    print_front(built, Console(file=text, width=160), title="tickets")
    lines = text.getvalue()
    assert "right ↑" in lines and "tokens ↓" in lines and ".50 .50" in lines and "in the order right, tokens" in lines
    error = built[0].stderr["tokens"]
    assert f"20.000 ± {error:.3f}" in lines and "m02" not in lines
    assert "hypervolume 18.0000 ± " in lines and "reference point right 0, tokens 32" in lines
    assert "1 dominated on dev, not shown" in lines
    assert "kind" not in lines and "mind" not in lines  # all are members, and there is nothing to mind
    text = io.StringIO()
    print_front(replace(built, points=(replace(built[0], kind="soup", feasible=False),)), Console(file=text, width=160))
    assert "soup" in text.getvalue() and "infeasible on dev" in text.getvalue()
    text = io.StringIO()
    print_front(built, Console(file=text, width=160), dominated=True)
    assert "m02" in text.getvalue() and "not shown" not in text.getvalue()


def test_marks(evaluation, objectives):
    limited = [*objectives[:2], Objective("polite", optimize=False, threshold=0.4)]
    front = build_front(
        evaluation("dev"),
        evaluation("test", m01=(0.5, 8.0, 0.3), m03=(0.45, 14.0, math.nan)),
        objectives=limited,
        preferences=torch.full((4, 2), 0.5),
        kinds=["member"] * 4,
        step=1,
        seed=0,
    )
    said = {p.id: marks(p, front.objectives) for p in (*front, *front.dominated)}
    assert said == {
        "m00": ["infeasible on dev"],
        "m01": ["infeasible on test"],
        "m02": [],
        "m03": ["infeasible on test", "dominated on test", "no polite"],
    }


def test_panels_are_the_pairs_of_trained_objectives(built):
    table = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.5, 0.5]}
    assert [(p.x.name, p.y.name) for p in panels({"f": Front.from_frame(table, list("abc"))})] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    (panel,) = panels({"study": built})
    assert panel.dots[0].ids == ("m00", "m01", "m03") and panel.dots[0].y == pytest.approx((20, 8, 14))
    assert panel.dots[0].y_error[0] == built[0].stderr["tokens"]
    assert panel.dots[1].ids == ("m02",) and panel.dots[1].dominated


def test_plot(built):
    figure = built.plot()
    assert [len(trace.x) for trace in figure.data] == [3, 1]
    assert figure.layout.yaxis.autorange == "reversed" and figure.layout.xaxis.autorange is True
    with pytest.raises(ConfigError, match="a single objective"):
        Front.from_frame({"a": [1.0]}, ["a"]).plot()


@pytest.mark.parametrize(
    "width, shown", [(160, "preference weights"), (80, "preference weights"), (64, "preference"), (52, "")]
)
def test_print_fits_the_terminal(built, width, shown):
    text = io.StringIO()
    points = [replace(p, weights={"right": 0.25, "tokens": 0.75}, dominated_on_test=p.id == "m00") for p in built]
    print_front(replace(built, points=tuple(points)), Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    header = next(line for line in lines if "point" in line)
    assert [name for name in ("preference", "weights", "step") if name in header] == shown.split()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert any(line.startswith(" m00† ") for line in lines) and "† dominated on test" in text.getvalue()
    left_out = " and ".join(name for name in ("weights", "preference") if name not in shown)
    assert ("no room for" in text.getvalue()) == bool(left_out) and left_out in text.getvalue()
    assert "all at step 90" in text.getvalue()
