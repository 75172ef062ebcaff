"""The figures of a report, in plotly."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moalign.explore._collect import ReportData, RunData
from moalign.fronts import Front, Point
from moalign.fronts._panels import shown
from moalign.fronts._plot import color, front_figure, styled
from moalign.objectives import Objective, trained

ACROSS = 4  # members in a row of weight trajectories
LINES = ("#7b4fb5", "#12908e", "#c2476f", "#8a6d1f", "#4a7c2c", "#6b7280")  # one per objective, no run's colour


def figures(data: ReportData) -> dict[str, go.Figure]:
    """Return the figures that the runs have data for, by name."""
    fronts = {run.name: run.front for run in data.runs}
    out: dict[str, go.Figure] = {}
    if len(shown(fronts)) > 1:
        out["projections"] = front_figure(fronts)
        out["parallel"] = parallel_figure(fronts)
    if any(run.curve()[0] for run in data.runs):
        out["curve"] = curve_figure(data.runs)
    if data.study.weights():
        out["weights"] = weights_figure(data.study)
    return out


def parallel_figure(fronts: dict[str, Front]) -> go.Figure:
    """Return one line per point of the fronts across all objectives, each scaled from its worst to its best seen."""
    objectives = shown(fronts)
    ends = [_ends(o, [p for front in fronts.values() for p in front]) for o in objectives]
    figure = go.Figure()
    for i, (name, front) in reversed(list(enumerate(fronts.items()))):  # the study's on top
        for number, point in enumerate(front):
            values = [point.values[o.name] for o in objectives]
            heights = [(v - low) / (high - low) if high != low else 0.5 for v, (low, high) in zip(values, ends)]
            texts = [o.show(v, point.stderr[o.name]) for o, v in zip(objectives, values)]
            figure.add_scatter(
                x=[o.name for o in objectives],
                y=heights,
                mode="lines+markers",
                name=name,
                legendgroup=name,
                legendrank=i,
                showlegend=number == 0,
                line={"color": color(i), "width": 2 if i == 0 else 1.5, "dash": "solid" if i == 0 else "dot"},
                marker={"size": 7},
                opacity=0.85 if i == 0 else 0.6,
                customdata=[f"{name}/{point.id}"] * len(objectives),
                text=texts,
                hovertemplate=f"<b>{point.id}</b>  %{{text}}<extra>{name}</extra>",
            )
    styled(figure, height=380)
    for o, (low, high) in zip(objectives, ends):
        for y, value, anchor in ((0, low, "top"), (1, high, "bottom")):
            style = {"color": "#52606d", "size": 12}
            figure.add_annotation(x=o.name, y=y, text=f"{value:.4g}", showarrow=False, yanchor=anchor, font=style)
    figure.update_xaxes(showgrid=True, gridcolor="#b8c1cc", range=[-0.25, len(objectives) - 0.75], ticks="")
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    return figure


def curve_figure(runs: Sequence[RunData]) -> go.Figure:
    """Return the hypervolume of the members' running means over the steps of each run."""
    figure = go.Figure()
    for i, run in enumerate(runs):
        steps, values = run.curve()
        line = {"color": color(i), "width": 2, "dash": "solid" if i == 0 else "dot"}
        figure.add_scatter(x=steps, y=values, mode="lines", name=run.name, line=line)
    styled(figure, height=340)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="hypervolume of running means")
    return figure


def weights_figure(run: RunData) -> go.Figure:
    """Return how each member's weights moved, one small panel per member, one line per objective."""
    trajectories = run.weights()
    members = list(trajectories)
    names = [o.name for o in trained(run.front.objectives)]
    columns = min(ACROSS, len(members))
    rows = -(-len(members) // columns)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes=True,
        shared_yaxes=True,
        subplot_titles=[_wish(run, member) for member in members],
        horizontal_spacing=0.03,
        vertical_spacing=0.28 / rows,
    )
    for i, member in enumerate(members):
        for k, name in enumerate(names):
            pairs = trajectories[member].get(name, [])
            figure.add_scatter(
                x=[step for step, _ in pairs],
                y=[value for _, value in pairs],
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=i == 0,
                line={"color": LINES[k % len(LINES)], "width": 1.8},
                row=i // columns + 1,
                col=i % columns + 1,
            )
    styled(figure, height=110 + 170 * rows)
    figure.update_layout(margin={"t": 70})
    figure.update_annotations(font={"size": 12, "color": "#52606d"})
    figure.update_yaxes(rangemode="tozero", matches="y")
    for column in range(columns):
        figure.update_xaxes(title_text="step", row=rows, col=column + 1)
    return figure


def _wish(run: RunData, member: str) -> str:
    known = {p.id: p.preference for p in (*run.front.points, *run.front.dominated)}
    wish = " / ".join(f"{share:.2f}" for share in known.get(member, {}).values())
    return f"<b>{member}</b>  {wish}" if wish else f"<b>{member}</b>"


def _ends(objective: Objective, points: Sequence[Point]) -> tuple[float, float]:
    """Return the worst and the best value among the points, own units."""
    values = [p.values[objective.name] for p in points if math.isfinite(p.values[objective.name])] or [0.0]
    return (min(values), max(values)) if objective.maximize else (max(values), min(values))
