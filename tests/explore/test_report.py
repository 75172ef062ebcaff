"""The report: what it reads, what it says, and that nothing in it can run or call out."""

import json
import re
from html.parser import HTMLParser

import pytest

from moalign.errors import ConfigError, RunError
from moalign.explore import ReportData, RunData, collect_report, render_report, write_report
from moalign.explore._figures import figures
from moalign.fronts import Front


@pytest.fixture
def data(make_run, tmp_path) -> ReportData:
    study, baseline = make_run(tmp_path / "study"), make_run(tmp_path / "linear", bend=0.8)
    return collect_report(study, {"fixed <linear>": baseline}, title="Sums & more", command="make study")


class Reader(HTMLParser):
    """Collects tags, scripts and visible text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.scripts: list[str] = []
        self.words = ""
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        if self.inside == "script":
            self.scripts[-1] += text
        elif self.inside != "style":
            self.words += text


def payload(page: str) -> dict:
    return json.loads(Reader(page).scripts[0])


def test_collected(data):
    assert [run.name for run in data.runs] == ["study", "fixed <linear>"]
    steps, values = data.study.curve()
    assert len(steps) == 60 and values[0] is None and values[-1] == pytest.approx(8 * 0.95, rel=0.01)
    lines = data.study.weights()["m00"]["tokens"]
    assert len(lines) == 60 and lines[3][0] == 3


def test_the_page_is_whole_and_calls_nobody(data):
    page = render_report(data)
    reader = Reader(page)
    assert reader.urls == []  # no script, style, image or link from elsewhere
    assert reader.tags.count("script") == 3 and "{{" not in reader.words
    assert "Plotly" in reader.scripts[1] and len(reader.scripts[1]) > 1e6
    for name in ("projections", "parallel", "curve", "weights"):
        assert f"id='chart-{name}'" in page and name in payload(page)["charts"]


def test_numbers_and_words(data):
    words = Reader(render_report(data)).words
    measure = data.study.front.hypervolume()
    assert f"{measure.value:.4g}" in words and f"± {measure.stderr:.2g}" in words
    assert f"{measure.points} points, 200 prompts; reference point accuracy 0, tokens 32, clarity 0" in words
    assert "Training curve, not a result" in words and "Made by make study" in words
    assert "tokens (less is better)" in words and "clarity (more is better, at least 0)" in words
    point = data.study.front[0]
    accuracy, tokens, _ = data.study.front.objectives
    for objective in (accuracy, tokens):
        assert objective.show(point.values[objective.name], point.stderr[objective.name]) in words


def test_every_point_has_its_completions_with_every_reward(data):
    points = payload(render_report(data))["points"]
    everyone = [f"{run.name}/{p.id}" for run in data.runs for p in (*run.front.points, *run.front.dominated)]
    assert sorted(points) == sorted(everyone) and len(points) == 16
    samples = points["study/m00"]["samples"]
    assert samples[1]["prompt"] == "1+1=" and samples[1]["completion"] == "1+1=2"
    assert samples[1]["rewards"] == {"accuracy": "1", "tokens": "4", "clarity": "does not apply"}
    assert samples[4]["prompt"] == "user: 1+1?"


def test_texts_cannot_become_markup(data):
    page = render_report(data)
    assert payload(page)["points"]["study/m00"]["samples"][3]["completion"] == "</script><b>&amp;"  # kept as it is
    assert page.count("<script") == 3 and "<script>alert" not in page
    outside = page.replace(Reader(page).scripts[0], "").replace(Reader(page).scripts[1], "")
    assert "fixed <linear>" not in outside and "<i>" not in outside and "&lt;i&gt;" in outside
    assert "fixed &lt;linear&gt;" in outside and "Sums &amp; more" in outside


def test_figures_show_the_data(data):
    drawn = figures(data)
    study = [t for t in drawn["projections"].data if t.name == "study"]
    assert len(study) == 3 and [p.id for p in data.study.front] == list(study[0].text)
    assert list(study[0].x) == [p.values["accuracy"] for p in data.study.front]
    assert list(study[0].error_x.array) == [p.stderr["accuracy"] for p in data.study.front]
    assert (
        study[0].marker.color != next(t for t in drawn["projections"].data if t.name.startswith("fixed")).marker.color
    )
    lines = [t for t in drawn["parallel"].data if t.name == "study"]
    assert len(lines) == len(data.study.front) and all(0 <= y <= 1 for t in lines for y in t.y)
    cheapest = min((p for run in data.runs for p in run.front), key=lambda p: p.values["tokens"])
    best = next(t for t in drawn["parallel"].data if t.customdata[0].endswith("/" + cheapest.id) and t.y[1] == 1.0)
    assert best.text[1].startswith(f"{cheapest.values['tokens']:.1f}"[:3])
    assert [t.name for t in drawn["curve"].data] == ["study", "fixed <linear>"]
    assert len(drawn["weights"].data) == 8 * 3


def test_without_metrics_or_pairs_there_is_still_a_report(tmp_path):
    front = Front.from_frame({"a": [1.0, 2.0]}, ["a"])
    page = write_report(tmp_path / "report.html", ReportData("one", RunData("one", front))).read_text()
    assert payload(page)["charts"] == {}
    words = Reader(page).words
    assert "This run kept no metrics" in words and "no reference point was declared" in words


def test_names_must_differ_and_runs_be_finished(make_run, tmp_path):
    study = make_run(tmp_path / "study")
    with pytest.raises(ConfigError, match="runs are called study, study"):
        collect_report(study, [study])
    with pytest.raises(RunError, match=r"front.json` does not exist"):
        collect_report(tmp_path)


def test_plotly_draws_what_it_is_told(data):
    # every chart refers to axes that its layout has, so that plotly.js draws it
    for chart in payload(render_report(data))["charts"].values():
        for trace in chart["data"]:
            axis = trace.get("xaxis", "x")
            assert re.sub("^x", "xaxis", axis) in chart["layout"]
