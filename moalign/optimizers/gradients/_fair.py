"""What a fair bargain gives each gradient: the solver behind Nash-MTL and FairGrad."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import Angles

RIDGE = 1e-9  # bounds the answer where gradients cancel out and none exists
FACTORS = (1.0, 0.5, 0.25, 0.1, 0.03)  # of Newton's step: the longest that is about as good as the best
MOST = 24  # rounds; five to ten are usual, and rounding takes all of them where gradients nearly cancel out
EXACT = 1e-8  # relative error at which a member stays as it is
LONGEST = 6.0  # change of an amount's logarithm in one round


def fair_amounts(at: Angles, alpha: float) -> Float[Tensor, "*batch channel"]:
    r"""Return :math:`x > 0`, amounts of the directions, with :math:`(C x)_k = b_k x_k^{-1/\alpha}`.

    :math:`C` are the cosines, :math:`b_k = p_k^{1/\alpha} \ell_k^{1/\alpha - 1}`, :math:`\ell` the lengths, :math:`p`
    the wishes scaled to a mean of 1: in weights :math:`w = x / \ell` it is :math:`(G w)_k = (w_k / p_k)^{-1/\alpha}`.
    The solution minimises :math:`x^\top C x / 2 - \sum_k b_k x_k^{1 - 1/\alpha} / (1 - 1/\alpha)` (a logarithm at
    :math:`\alpha = 1`), which is convex: Newton's steps for :math:`x`, taken in :math:`\log x`, with a line search, and
    the best multiple of :math:`x` before each.
    """
    power = 1 / alpha
    eye = torch.eye(at.cosine.shape[-1], dtype=torch.double, device=at.cosine.device)
    cosine = at.cosine + max(RIDGE, at.noise) * eye
    share = at.wish * at.used.sum(dim=-1, keepdim=True) / at.wish.sum(dim=-1, keepdim=True)
    share = torch.where(at.used, share, 1.0)
    log_b = power * share.log() + (power - 1) * at.length.log()
    factors = torch.tensor(FACTORS, dtype=torch.double, device=cosine.device).unsqueeze(-1)
    log_x, done = log_b / (1 + power), ~at.finite
    for _ in range(MOST):
        x, pull = log_x.exp(), (log_b + (1 - power) * log_x).exp()
        push = x * (cosine @ x.unsqueeze(-1)).squeeze(-1)
        multiple = (pull.sum(dim=-1, keepdim=True) / push.sum(dim=-1, keepdim=True)).log() / (1 + power)
        multiple = torch.where(done, 0.0, multiple)
        log_x, pull = log_x + multiple, pull * ((1 - power) * multiple).exp()
        x, push = x * multiple.exp(), push * (2 * multiple).exp()
        off = pull - push
        done = done | (off.abs() <= EXACT * pull).all(dim=-1, keepdim=True)
        if done.all():
            break
        curvature = x.unsqueeze(-1) * cosine * x.unsqueeze(-2) + torch.diag_embed(power * pull)
        step = torch.linalg.solve_ex(curvature, off.unsqueeze(-1)).result.squeeze(-1)
        step = step / (step.abs().amax(dim=-1, keepdim=True) / LONGEST).clamp(min=1.0)
        tries = log_x.unsqueeze(-2) + factors * torch.where(done, 0.0, step).unsqueeze(-2)  # who is done stays
        x = tries.exp()
        cost, gain = (x * (x @ cosine)).sum(dim=-1) / 2, _gain(tries, log_b, share, power)
        value, rounding = cost - gain, 1e-12 * (cost + gain.abs()).amin(dim=-1, keepdim=True)
        bad = value > value.amin(dim=-1, keepdim=True) + rounding
        first = bad.long().cumprod(dim=-1).sum(dim=-1)[..., None, None]
        log_x = tries.take_along_dim(first, dim=-2).squeeze(-2)
    return log_x.exp()


def _gain(tries: Tensor, log_b: Tensor, share: Tensor, power: float) -> Tensor:
    if power == 1:
        return (share.unsqueeze(-2) * tries).sum(dim=-1)
    return ((log_b.unsqueeze(-2) + (1 - power) * tries).exp() / (1 - power)).sum(dim=-1)
