"""Training: the recipe, the one loop, updates and breeding."""

from moalign.training.breed import NoBreeding
from moalign.training.descent import Descent
from moalign.training.recipe import Recipe

__all__ = ["Descent", "NoBreeding", "Recipe"]
