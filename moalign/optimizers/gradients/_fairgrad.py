"""A fair share of the step for every gradient (FairGrad)."""

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.gradients._angles import angles, weights_of
from moalign.optimizers.gradients._fair import fair_amounts
from moalign.parts import register


@register(
    "mixer",
    "fairgrad",
    test="tests/optimizers/test_fair.py::test_fairgrad_solves_its_equation",
    paper="ban2024fairgrad",
)
def fairgrad(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"], *, alpha: float = 2.0
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of an :math:`\alpha`-fair step: :math:`(G w)_k = (w_k / p_k)^{-1/\alpha}`.

    The step :math:`d = \sum_k w_k g_k` maximises :math:`\sum_k p_k (g_k \cdot d)^{1 - \alpha} / (1 - \alpha)` among
    steps of its length: :math:`\alpha`, ``alpha``, near 0 is the weighted sum, 1 is `nash_mtl`, and much is the best
    worst case. :math:`G` is the ``gram``, :math:`p` ``preferences`` scaled to a mean of 1 (the paper's where they are
    equal). Every channel gains. Where gradients cancel out there is no such step and weights grow large. A channel
    whose gradient is zero is left out. Ban and Ji 2024, arXiv:2402.15638, solved by Newton's method.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    >>> fairgrad(g @ g.mT, torch.tensor([0.5, 0.5]))  # 16 w = 1 / sqrt w
    tensor([1.0000, 0.1575])
    """
    if alpha <= 0:
        raise ConfigError(f"`alpha` is {alpha}; it must be above 0. The weighted sum, at 0, is `linear`.")
    at = angles(gram, preferences)
    return weights_of(fair_amounts(at, alpha), at, preferences)
