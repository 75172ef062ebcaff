"""How weights and multipliers move; pure functions on ``member objective``.

>>> import torch
>>> dual_ascent(torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]), lr=0.1, maximum=5.0)
tensor([[0.1000, 0.0000]])
"""

from moalign.optimizers.weights._dual_ascent import dual_ascent
from moalign.optimizers.weights._exponentiated_gradient import exponentiated_gradient
from moalign.optimizers.weights._gradnorm import gradnorm
from moalign.optimizers.weights._nelder_mead import nelder_mead, simplex_at
from moalign.optimizers.weights._pid import pid

__all__ = ["dual_ascent", "exponentiated_gradient", "gradnorm", "nelder_mead", "pid", "simplex_at"]
