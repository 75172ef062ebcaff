"""Utilities of a reward vector: ``(rewards, weights, ideal) -> utility``, larger is better.

| scalarizer | what it is | measured from |
| --- | --- | --- |
| `Linear` | weighted sum | |
| `Chebyshev` `AugmentedChebyshev` `SmoothChebyshev` | worst weighted regret; ties broken; softened | the ideal |
| `PNorm` `OWA` | a norm of the regrets; their average, the worst counting most | the ideal |
| `PBI` `InvertedPBI` | distance along a direction, and off it | the ideal; a worst point |
| `Achievement` | worst weighted surplus | levels aspired to |
| `GeometricMean` `HypervolumeScalarizer` | product of gains; what a direction sees of a hypervolume | a worst point |
| `Desirability` | geometric mean of curves to [0, 1]: `Maximum` `Minimum` `Target` `Box` `Through` | the curves |
| `Gated` `Product` | sum behind thresholds; one reward times penalties in [0, 1] | 0 |

>>> import torch
>>> rewards = torch.tensor([[0.9, 0.1], [0.4, 0.4]])  # row objective
>>> weights, ideal = torch.tensor([0.5, 0.5]), torch.ones(2)
>>> Linear()(rewards, weights, ideal)
tensor([0.5000, 0.4000])
>>> Chebyshev()(rewards, weights, ideal)  # the balanced row has the smaller worst regret
tensor([-0.4500, -0.3000])
"""

from moalign.optimizers.scalarizers._achievement import Achievement
from moalign.optimizers.scalarizers._augmented_chebyshev import AugmentedChebyshev
from moalign.optimizers.scalarizers._base import Scalarizer, among
from moalign.optimizers.scalarizers._chebyshev import Chebyshev
from moalign.optimizers.scalarizers._curves import Box, Curve, Maximum, Minimum, Target, Through
from moalign.optimizers.scalarizers._desirability import Desirability
from moalign.optimizers.scalarizers._gated import Gated
from moalign.optimizers.scalarizers._geometric_mean import GeometricMean
from moalign.optimizers.scalarizers._hypervolume import HypervolumeScalarizer
from moalign.optimizers.scalarizers._linear import Linear
from moalign.optimizers.scalarizers._named import Axes, Named
from moalign.optimizers.scalarizers._owa import OWA
from moalign.optimizers.scalarizers._p_norm import PNorm
from moalign.optimizers.scalarizers._pbi import PBI, InvertedPBI
from moalign.optimizers.scalarizers._product import Product
from moalign.optimizers.scalarizers._smooth_chebyshev import SmoothChebyshev

__all__ = [
    "OWA",
    "PBI",
    "Achievement",
    "AugmentedChebyshev",
    "Axes",
    "Box",
    "Chebyshev",
    "Curve",
    "Desirability",
    "Gated",
    "GeometricMean",
    "HypervolumeScalarizer",
    "InvertedPBI",
    "Linear",
    "Maximum",
    "Minimum",
    "Named",
    "PNorm",
    "Product",
    "Scalarizer",
    "SmoothChebyshev",
    "Target",
    "Through",
    "among",
]
