"""Utilities of a reward vector: ``(rewards, weights, ideal) -> utility``, larger is better.

>>> import torch
>>> rewards = torch.tensor([[0.9, 0.1], [0.4, 0.4]])  # row objective
>>> weights, ideal = torch.tensor([0.5, 0.5]), torch.ones(2)
>>> Linear()(rewards, weights, ideal)
tensor([0.5000, 0.4000])
>>> Chebyshev()(rewards, weights, ideal)  # the balanced row has the smaller worst regret
tensor([-0.4500, -0.3000])
"""

from moalign.optimizers.scalarizers._augmented_chebyshev import AugmentedChebyshev
from moalign.optimizers.scalarizers._base import Scalarizer
from moalign.optimizers.scalarizers._chebyshev import Chebyshev
from moalign.optimizers.scalarizers._linear import Linear
from moalign.optimizers.scalarizers._smooth_chebyshev import SmoothChebyshev

__all__ = ["AugmentedChebyshev", "Chebyshev", "Linear", "Scalarizer", "SmoothChebyshev"]
