"""Gradients made orthogonal and equally long, as far as they can be without leaving their span (Aligned-MTL)."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, times, weights_of
from moalign.parts import register


@register(
    "mixer",
    "aligned-mtl",
    test="tests/optimizers/test_aligned.py::test_aligned_gradients_are_orthogonal_and_equally_long",
    paper="senushkin2023aligned",
)
def aligned_mtl(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights :math:`B p` of the preference-weighted sum of the aligned gradients.

    .. math:: B = \sqrt{\lambda_r}\, V \Lambda^{-1/2} V^\top

    :math:`G = V \Lambda V^\top` are the eigenvectors and eigenvalues, without those that rounding cannot tell from 0,
    of the ``gram``, :math:`\lambda_r` is the least of them and :math:`p` ``preferences``. The rows of :math:`B J`,
    :math:`J` the gradients, are orthogonal and of length :math:`\sqrt{\lambda_r}`: the nearest such system. Gradients
    that are far shorter than the longest are lost as rounding. Senushkin et al. 2023, arXiv:2305.19000.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    >>> aligned_mtl(g @ g.mT, torch.tensor([0.5, 0.5])) @ g  # (0.5, 0) and (0, 2 / 4)
    tensor([0.5000, 0.5000])
    """
    at = angles(gram, preferences)
    both = at.used.unsqueeze(-1) & at.used.unsqueeze(-2)
    values, vectors = torch.linalg.eigh(torch.where(both, gram.double(), 0.0).where(at.finite.unsqueeze(-1), 0.0))
    known = values > values[..., -1:].clamp(min=0.0) * at.noise
    least = torch.where(known, values, torch.inf).amin(dim=-1, keepdim=True)
    stretch = torch.where(known, (least / torch.where(known, values, 1.0)).sqrt(), 0.0)
    weights = times(vectors, stretch * times(vectors.mT, at.wish))
    return weights_of(weights * at.length, at, preferences)
