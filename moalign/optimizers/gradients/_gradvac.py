"""Gradients turned towards each other until they are similar enough (GradVac)."""

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.gradients._angles import angles, at_most, weights_of
from moalign.optimizers.gradients._surgery import turned
from moalign.parts import register


@register(
    "mixer",
    "gradvac",
    test="tests/optimizers/test_surgery.py::test_gradvac_reaches_its_target",
    paper="wang2020gradvac",
)
def gradvac(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"], *, target: float = 0.2
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of the sum of gradients, each turned towards the others until its cosine to them is ``target``.

    Gradients that are less similar than ``target``, between -1 and 1, are moved; 0 is `pcgrad`. The paper's target is
    each pair's running mean of the cosines seen; a mixer remembers nothing, so here it is one number, to be set to what
    the metrics ``conflict/...`` show. As in `pcgrad`, the mean over all orders replaces the paper's random one,
    ``preferences`` weigh the sum, and more than 8 channels raise `ConfigError`. Wang et al. 2020, arXiv:2010.05874.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> gradvac(g @ g.mT, torch.tensor([0.5, 0.5]), target=0.6)  # each adds 0.6 / 0.8 of the other
    tensor([0.8750, 0.8750])
    """
    if not -1 < target < 1:
        raise ConfigError(f"`target` is {target}; it is the cosine to reach and must lie between -1 and 1.")
    at_most(gram.shape[-1], 8, "gradvac")
    at = angles(gram, preferences)
    return weights_of(turned(at, target), at, preferences)
