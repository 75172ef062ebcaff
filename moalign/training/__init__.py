"""Training: the recipe, the one loop, updates and breeding."""

from moalign.training.breed import NoBreeding
from moalign.training.descent import Descent
from moalign.training.gap_fill import GapFill
from moalign.training.line_search import LineSearch
from moalign.training.recipe import Recipe

__all__ = ["Descent", "GapFill", "LineSearch", "NoBreeding", "Recipe"]
