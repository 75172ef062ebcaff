"""A front as a plotly figure."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moalign.errors import ConfigError
from moalign.fronts._front import Front
from moalign.fronts._panels import Dots, axis_title, panels

COLORS = ("#2456a6", "#d9822b", "#2a9d6f", "#9b51b0", "#c0392b", "#6b7280")
FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "#1f2933"}
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
COLUMNS = 3
GRID = "#e6eaee"


def front_figure(fronts: Mapping[str, Front]) -> go.Figure:
    """Return projections of named fronts on each pair of objectives, with error bars; the first is the study's."""
    all_panels = panels(fronts)
    if not all_panels:
        raise ConfigError("a front is drawn on pairs of objectives, and this one has a single objective.")
    columns = min(COLUMNS, len(all_panels))
    rows = -(-len(all_panels) // columns)
    figure = make_subplots(rows, columns, horizontal_spacing=0.24 / columns, vertical_spacing=0.36 / rows)
    names = list(fronts)
    for i, panel in enumerate(all_panels):
        row, column = i // columns + 1, i % columns + 1
        for dots in sorted(panel.dots, key=lambda d: -names.index(d.front)):  # the study's on top
            figure.add_trace(_scatter(dots, names.index(dots.front), first=i == 0), row=row, col=column)
        reverse = {True: True, False: "reversed"}
        figure.update_xaxes(title_text=axis_title(panel.x), autorange=reverse[panel.x.maximize], row=row, col=column)
        figure.update_yaxes(title_text=axis_title(panel.y), autorange=reverse[panel.y.maximize], row=row, col=column)
    return styled(figure, height=90 + 330 * rows)


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the one look that all of ours have."""
    figure.update_layout(
        template="none",
        font=FONT,
        height=height,
        margin={"l": 56, "r": 16, "t": 44, "b": 52},
        legend={"orientation": "h", "y": 1.0, "yref": "container", "x": 0, "yanchor": "top"},
        hoverlabel={"bgcolor": "white", "font": FONT},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": "#b8c1cc", "ticks": "outside", "tickcolor": "#b8c1cc"}
    figure.update_xaxes(**axis, title_standoff=8, title_font=FONT)
    figure.update_yaxes(**axis, title_standoff=6, title_font=FONT)
    return figure


def color(index: int) -> str:
    """Return the colour of the front at that place: the study's is the first."""
    return COLORS[index % len(COLORS)]


def _scatter(dots: Dots, index: int, *, first: bool) -> go.Scatter:
    label = f"{dots.front}, dominated" if dots.dominated else dots.front
    return go.Scatter(
        x=dots.x,
        y=dots.y,
        error_x=_bars(dots.x_error, index),
        error_y=_bars(dots.y_error, index),
        mode="markers",
        name=label,
        legendgroup=label,
        legendrank=index,
        showlegend=first and not dots.dominated,
        opacity=0.35 if dots.dominated else 1.0,
        marker={
            "color": "white" if dots.dominated else color(index),
            "size": 8 if dots.dominated else 10,
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "line": {"color": color(index), "width": 1.5},
        },
        customdata=[f"{dots.front}/{id}" for id in dots.ids],
        text=dots.ids,
        hovertemplate="<b>%{text}</b>  %{x:.4g}, %{y:.4g}<extra>" + label + "</extra>",
    )


def _bars(errors: Sequence[float], index: int) -> dict:
    return {"type": "data", "array": errors, "color": color(index), "thickness": 1, "width": 0}
