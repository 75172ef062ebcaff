"""Shaping of step rewards, so that steps which are right and useless do not pay."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.parts import register

Steps = Float[Tensor, "row segment objective"]
Mask = Bool[Tensor, "row segment objective"]


@register("shaping", "clip-steps", paper="gao2024reward", test="tests/credit/test_shaping.py::test_clip_by_hand")
def clip_steps(rewards: Steps, mask: Mask, *, threshold: float = 0.5) -> Steps:
    r"""Let a step only lose, :math:`\min(r_k-\eta,\,0)`: another step that is good enough adds nothing.

    :math:`r_k` a step's reward in ``rewards``, :math:`\eta` ``threshold``, 0 where not in ``mask``. Gao et al. 2024,
    arXiv:2410.15115.

    >>> clip_steps(torch.tensor([[[0.9], [0.25]]]), torch.ones(1, 2, 1).bool()).flatten()
    tensor([ 0.0000, -0.2500])
    """
    return torch.where(mask, (rewards - threshold).clamp(max=0), 0)


@register("shaping", "delta-steps", paper="gao2024reward", test="tests/credit/test_shaping.py::test_delta_by_hand")
def delta_steps(rewards: Steps, mask: Mask, *, clip: float | None = None) -> Steps:
    r"""Pay a step its reward less the next step's, so that what follows a step adds up to its own reward.

    .. math:: \Delta_k=r_k-r_{k+1}\ (k<K-1),\quad \Delta_{K-1}=r_{K-1},\quad \Delta_K=0

    :math:`r` ``rewards`` of the :math:`K` steps in ``mask``; with ``clip``, they are clipped there first
    (`clip_steps`). The last step is judged by the outcome. However many steps there are, all together are worth
    :math:`r_1`. Gao et al. 2024, arXiv:2410.15115.

    >>> delta_steps(torch.tensor([[[0.9], [0.5], [0.75], [1.0]]]), torch.ones(1, 4, 1).bool()).flatten()
    tensor([ 0.4000, -0.2500,  0.7500,  0.0000])
    """
    steps = rewards if clip is None else clip_steps(rewards, mask, threshold=clip)
    out = torch.zeros_like(rewards)
    later, count = torch.zeros_like(rewards[:, 0]), torch.zeros_like(mask[:, 0], dtype=torch.long)
    for k in reversed(range(rewards.shape[1])):
        here = mask[:, k]
        difference = steps[:, k] - torch.where(count > 1, later, 0)
        out[:, k] = torch.where(here & (count > 0), difference, 0)
        later, count = torch.where(here, steps[:, k], later), count + here
    return out
