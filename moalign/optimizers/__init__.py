"""The mathematics of trade-offs: tensors and callables in, tensors out; never text, tokens or a policy.

>>> import torch
>>> points, reference = torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.5, 0.5]]), torch.zeros(2)
>>> non_dominated(points)
tensor([ True,  True, False])
>>> round(hypervolume(points, reference), 4)  # 0.9 * 0.2 + 0.6 * 0.4
0.42
>>> preferences = Simplex().points(["accurate", "short"], 3)
>>> Chebyshev()(points, preferences[1], ideal=torch.ones(2))
tensor([-0.4000, -0.2000, -0.2500])

Larger is better everywhere. Axes: `point objective` for fronts, `*batch objective` for rewards and weights,
`*batch channel channel` for inner products of gradients, `member` first for whatever is stepped.
"""

from moalign.optimizers import gradients, scalarizers, steps, weights
from moalign.optimizers.archive import ParetoArchive
from moalign.optimizers.dominance import crowding_distance, non_dominated, rank
from moalign.optimizers.gradients import min_norm
from moalign.optimizers.hypervolume import contributions, gradient, hypervolume
from moalign.optimizers.indicators import epsilon_additive, expected_utility, igd, igd_plus, sparsity
from moalign.optimizers.scalarizers import AugmentedChebyshev, Chebyshev, Linear, Scalarizer, SmoothChebyshev
from moalign.optimizers.simplex import Simplex, check_on_simplex, das_dennis, riesz, sample_dirichlet
from moalign.optimizers.steps import SGD, AdamW
from moalign.optimizers.weights import dual_ascent

__all__ = [
    "SGD",
    "AdamW",
    "AugmentedChebyshev",
    "Chebyshev",
    "Linear",
    "ParetoArchive",
    "Scalarizer",
    "Simplex",
    "SmoothChebyshev",
    "check_on_simplex",
    "contributions",
    "crowding_distance",
    "das_dennis",
    "dual_ascent",
    "epsilon_additive",
    "expected_utility",
    "gradient",
    "gradients",
    "hypervolume",
    "igd",
    "igd_plus",
    "min_norm",
    "non_dominated",
    "rank",
    "riesz",
    "sample_dirichlet",
    "scalarizers",
    "sparsity",
    "steps",
    "weights",
]
