"""Weights of loss channels from the inner products of their gradients: ``(gram, preferences) -> weights``.

>>> import torch
>>> gradients = torch.tensor([[1.0, 1.0], [-0.5, 1.0]])  # channel parameter
>>> weights = min_norm(gradients @ gradients.mT, torch.tensor([0.5, 0.5]))
>>> weights, (weights @ gradients).abs().round(decimals=4)  # the conflict in the first parameter is gone
(tensor([0.3333, 0.6667]), tensor([0., 1.]))
"""

from moalign.optimizers.gradients._aligned import aligned_mtl
from moalign.optimizers.gradients._cagrad import cagrad
from moalign.optimizers.gradients._config import config
from moalign.optimizers.gradients._fairgrad import fairgrad
from moalign.optimizers.gradients._gradvac import gradvac
from moalign.optimizers.gradients._imtl import imtl_g
from moalign.optimizers.gradients._linear import linear
from moalign.optimizers.gradients._min_norm import min_norm
from moalign.optimizers.gradients._nash import nash_mtl
from moalign.optimizers.gradients._paretoda import paretoda
from moalign.optimizers.gradients._pcgrad import pcgrad
from moalign.optimizers.gradients._upgrad import upgrad

__all__ = [
    "aligned_mtl",
    "cagrad",
    "config",
    "fairgrad",
    "gradvac",
    "imtl_g",
    "linear",
    "min_norm",
    "nash_mtl",
    "paretoda",
    "pcgrad",
    "upgrad",
]
