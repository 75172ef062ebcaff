"""Weights of loss channels from the inner products of their gradients: ``(gram, preferences) -> weights``.

>>> import torch
>>> gradients = torch.tensor([[1.0, 1.0], [-0.5, 1.0]])  # channel parameter
>>> weights = min_norm(gradients @ gradients.mT, torch.tensor([0.5, 0.5]))
>>> weights, (weights @ gradients).abs().round(decimals=4)  # the conflict in the first parameter is gone
(tensor([0.3333, 0.6667]), tensor([0., 1.]))
"""

from moalign.optimizers.gradients._linear import linear
from moalign.optimizers.gradients._min_norm import min_norm

__all__ = ["linear", "min_norm"]
