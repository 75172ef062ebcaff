"""Fronts of models: chosen on dev prompts, valued on test prompts; data only, models load on call.

>>> front = Front.from_frame({"right": [0.9, 0.4], "tokens": [20, 4]}, ["right", Objective("tokens", maximize=False)])
>>> front.select(at_most={"tokens": 10}, maximize="right").id
'1'
"""

from moalign.fronts._build import build_front
from moalign.fronts._card import as_text, print_point
from moalign.fronts._front import Front
from moalign.fronts._measure import Measure, hypervolume_measure
from moalign.fronts._panels import Dots, Panel, panels
from moalign.fronts._point import Point
from moalign.fronts._table import front_table, marks, print_front
from moalign.objectives import Objective

__all__ = [
    "Dots",
    "Front",
    "Measure",
    "Objective",
    "Panel",
    "Point",
    "as_text",
    "build_front",
    "front_table",
    "hypervolume_measure",
    "marks",
    "panels",
    "print_front",
    "print_point",
]
