"""One self-contained HTML file: the fronts, the numbers, the training, and what the models say."""

import html
import json
from pathlib import Path
from typing import Any

from moalign.explore._collect import ReportData, RunData
from moalign.explore._figures import figures
from moalign.fronts import Front, Point, as_text, marks
from moalign.fronts._plot import color
from moalign.objectives import Objective
from moalign.runs import plain, write_bytes

PAGE = Path(__file__).parent / "page"
CAPTIONS = {
    "projections": (
        "Each pair of objectives; better is up and right. Bars are one standard error, faint hollow marks were "
        "dominated on dev. Select a point to read its completions."
    ),
    "parallel": "One line per point of a front, each axis from the worst to the best value seen; better is up.",
    "curve": (
        "Training curve, not a result: hypervolume of the members' running mean rewards on training prompts, "
        "from the same reference point."
    ),
    "weights": "Weights of each member over the steps; beside its name, its preference in the same order.",
}


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the report of `data` as one HTML file that opens without a network."""
    path = Path(path)
    write_bytes(path, render_report(data).encode("utf-8"))
    return path


def render_report(data: ReportData) -> str:
    """Return the report as HTML text."""
    from plotly.offline import get_plotlyjs

    drawn = figures(data)
    charts = {name: json.loads(str(figure.to_json())) for name, figure in drawn.items()}
    payload = {
        "charts": charts,
        "points": {f"{run.name}/{p.id}": _point(run, p) for run in data.runs for p in _all(run)},
    }
    parts = {
        "title": html.escape(data.title),
        "css": (PAGE / "report.css").read_text(encoding="utf-8"),
        "lead": _lead(data),
        "cards": "".join(_card(run, i) for i, run in enumerate(data.runs)),
        "front": _charts(("projections", "parallel"), charts),
        "tables": "".join(_table(run, i) for i, run in enumerate(data.runs)),
        "options": "".join(_options(run) for run in data.runs),
        "training": _charts(("curve", "weights"), charts) or "<p class='note'>This run kept no metrics.</p>",
        "record": "".join(_record(run) for run in data.runs),
        "payload": json.dumps(plain(payload), allow_nan=False).replace("<", "\\u003c"),  # cannot end the script
        "plotly": get_plotlyjs(),
        "script": (PAGE / "report.js").read_text(encoding="utf-8"),
    }
    page = (PAGE / "report.html").read_text(encoding="utf-8")
    pieces = page.split("{{")  # one pass: what a part contains is never looked at again
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        out += [parts[name.strip()], rest]
    return "".join(out)


def _all(run: RunData) -> tuple[Point, ...]:
    return (*run.front.points, *run.front.dominated)


def _point(run: RunData, point: Point) -> dict[str, Any]:
    """Return what the page needs to show a point's completions."""
    names = {o.name: o for o in run.front.objectives}
    return {
        "run": run.name,
        "id": point.id,
        "values": {name: o.show(point.values[name], point.stderr[name]) for name, o in names.items()},
        "preference": {name: f"{value:.2f}" for name, value in point.preference.items()},
        "samples": [
            {
                "prompt": as_text(sample.prompt),
                "completion": as_text(sample.completion),
                "rewards": {n: "does not apply" if r is None else f"{r:.4g}" for n, r in sample.rewards.items()},
            }
            for sample in point.samples
        ],
    }


def _lead(data: ReportData) -> str:
    front = data.study.front
    wishes = ", ".join(f"{html.escape(o.name)} ({_direction(o)})" for o in front.objectives)
    mode = {None: "", 0: ", greedy"}.get(front.temperature, f", at temperature {front.temperature or 0:g}")
    lines = [f"<p>Objectives: {wishes}.</p>"]
    if front.prompts:
        lines.append(f"<p>Points chosen on dev prompts, valued on {front.prompts:,} {front.split} prompts{mode}.</p>")
    if data.command:
        lines.append(f"<p>Made by <code>{html.escape(data.command)}</code></p>")
    return "".join(lines)


def _direction(objective: Objective) -> str:
    words = "more is better" if objective.maximize else "less is better"
    if objective.threshold is not None:
        words += f", {'at least' if objective.maximize else 'at most'} {objective.threshold:g}"
    return words if objective.optimize else words + ", not trained"


def _card(run: RunData, index: int) -> str:
    front = run.front
    if front.reference_point is None:
        number, note = "–", "no reference point was declared"
    else:
        measure = front.hypervolume()
        number = f"{measure.value:.4g} <small>± {measure.stderr:.2g}</small>"
        corner = ", ".join(f"{html.escape(name)} {value:g}" for name, value in front.reference_point.items())
        note = f"{measure.points} points, {measure.prompts:,} prompts; reference point {corner}"
    return (
        f"<div class='card' style='border-top-color:{color(index)}'><h3>{html.escape(run.name)}"
        f"<span>{'study' if index == 0 else 'baseline'}</span></h3>"
        f"<p class='number'>{number}</p><p class='note'>Hypervolume of the {html.escape(front.split)} front, ± one "
        f"standard error. {note}.</p></div>"
    )


def _charts(names: tuple[str, ...], charts: dict[str, Any]) -> str:
    return "".join(
        f"<figure><div class='chart' id='chart-{name}' style='min-height:{charts[name]['layout']['height']}px'></div>"
        f"<figcaption>{CAPTIONS[name]}</figcaption></figure>"
        for name in names
        if name in charts
    )


def _table(run: RunData, index: int) -> str:
    front = run.front
    heads = ["point", *(f"{o.name} {'↑' if o.maximize else '↓'}" for o in front.objectives)]
    shares = " / ".join(html.escape(name) for name in (_all(run)[0].preference if _all(run) else {}))
    heads = [html.escape(head) for head in heads]
    heads += [f"{word}<small>{shares}</small>" for word in ("preference", "weights")] + ["step", "kind", "mind"]
    rows = [_row(run, front, point, "") for point in front.points]
    rows += [_row(run, front, point, "faint") for point in front.dominated]
    return (
        f"<details class='table' {'open' if index == 0 else ''}><summary><i style='background:{color(index)}'></i>"
        f"{html.escape(run.name)}: {len(front)} points, {len(front.dominated)} dominated</summary><div class='scroll'>"
        f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _row(run: RunData, front: Front, point: Point, style: str) -> str:
    minds = marks(point, front.objectives, split=front.split) + (["dominated on dev"] if style else [])
    cells = [o.show(point.values[o.name], point.stderr[o.name]) for o in front.objectives]
    cells += [" / ".join(f"{v:.2f}" for v in w.values()) for w in (point.preference, point.weights or {})]
    cells += [str(point.step), point.kind, ", ".join(minds)]
    key = html.escape(f"{run.name}/{point.id}", quote=True)
    first = f"<td><button data-point='{key}'>{html.escape(point.id)}</button></td>"
    return f"<tr class='{style}'>{first}{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _options(run: RunData) -> str:
    keys = [(html.escape(f"{run.name}/{p.id}", quote=True), html.escape(p.id)) for p in _all(run)]
    inner = "".join(f"<option value='{key}'>{id}</option>" for key, id in keys)
    return f"<optgroup label='{html.escape(run.name, quote=True)}'>{inner}</optgroup>"


def _record(run: RunData) -> str:
    facts = {"status": run.status, "study": run.spec}
    text = html.escape(json.dumps(plain(facts), indent=1, ensure_ascii=False))
    return f"<details><summary>{html.escape(run.name)}</summary><pre>{text}</pre></details>"
