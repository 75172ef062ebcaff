"""Advantages whose objectives are made uncorrelated: what two rewards say alike counts once."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._at_advantage import AtAdvantage
from moalign.credit._moments import moments
from moalign.errors import ConfigError
from moalign.parts import register

ROUNDING = 1e-6  # of the largest reward: a spread below this is what arithmetic leaves of equal rewards


@register("estimator", "whitened", paper="bai2026rdpo", test="tests/credit/test_whitened.py::test_by_hand")
@dataclass(frozen=True)
class Whitened:
    r"""Centre rewards in their groups, then whiten across objectives, :math:`A_i=P^{-1/2}D^{-1}(r_i-\mu_g)` (RDPO).

    :math:`r_i` the row's rewards, :math:`D` the member's root mean squares of what is centred, :math:`P` its
    correlation matrix. A member's advantages have the identity as covariance: two rewards that rise together no longer
    count double, and of all whitenings :math:`P^{-1/2}` (Mahalanobis) stays closest to the rewards themselves. Rows are
    whitened with those that have the *same* valid objectives, within these. A combination of objectives whose share of
    the variance is below ``tolerance`` is dropped, not blown up: of two equal rewards the sum is kept, a constant one
    gives 0.

    Only sums of the advantages mean something afterwards, so `collapse` must be ``"at-advantage"``. Bai et al. 2026,
    arXiv:2605.13641; the paper's normalization by quantiles before it is a normalizer's affair.
    """

    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"`tolerance` is a share between 0 and 1, got {self.tolerance}.")

    def problems(self, recipe: Any) -> list[str]:
        if isinstance(getattr(recipe.credit, "collapse", None), AtAdvantage):
            return []
        return ["`whitened` mixes the objectives, so only their sum means something; bind collapse='at-advantage'."]

    def __call__(
        self,
        rewards: Float[Tensor, "member prompt group *objective"],
        mask: Bool[Tensor, "member prompt group *objective"],
    ) -> Float[Tensor, "member prompt group *objective"]:
        centred, _, _ = moments(rewards, mask, (2,))
        spread, size = (x.abs().amax((1, 2), keepdim=True) for x in (centred, torch.where(mask, rewards, 0)))
        centred = torch.where(spread > ROUNDING * size, centred, 0)
        members, prompts, group = rewards.shape[:3]
        rows = centred.reshape(members, prompts * group, -1)
        known = mask.reshape(rows.shape)
        out = torch.zeros_like(rows)
        patterns = (known * 2 ** torch.arange(rows.shape[2], device=rows.device)).sum(2)
        for member, pattern in enumerate(patterns):
            for code in pattern.unique().tolist():
                same = pattern == code
                here = known[member, same][0]
                out[member, same.nonzero(), here.nonzero()[:, 0]] = self._white(rows[member, same][:, here])
        return out.view_as(rewards)

    def _white(self, x: Float[Tensor, "row objective"]) -> Float[Tensor, "row objective"]:
        """Whiten rows of mean 0; in doubles, and in units of the largest entries, so that nothing overflows."""
        largest = x.abs().amax(0)
        x = x.double() / torch.where(largest > 0, largest, 1)
        size = x.square().mean(0).sqrt()
        x = x / torch.where(size > 0, size, 1)
        values, vectors = torch.linalg.eigh(x.T @ x / max(len(x), 1))
        root = torch.where(values > self.tolerance * x.shape[1], values.clamp(min=self.tolerance).rsqrt(), 0)
        return (x @ (vectors * root) @ vectors.T).to(largest)
