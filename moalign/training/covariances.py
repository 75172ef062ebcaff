"""Which way the advantages push every objective: its covariance with them, within groups."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.records import Credit, Metrics, Rows

OUTLIER = 100.0  # times the median size of a member's advantages: larger ones are left out, as in the authors' code


def covariances(rows: Rows, credit: Credit) -> Metrics:
    r"""Return for each objective ``covariance/<name>`` and ``correlation/<name>``; negative: the step makes it worse.

    .. math:: c_k = \frac1G \sum_g \frac1{|g|} \sum_{i \in g} (r_{ik} - \bar r_{gk})(A_i - \bar A_g)

    :math:`r` raw rewards, larger is better, :math:`A` a completion's mean advantage over its trained tokens, of
    channels their sum by the row's weights, :math:`G` groups with at least two valid rewards. To first order an
    objective improves if its covariance with what is ascended is positive. This is the covariance before the update,
    where the ratio is 1 and nothing is clipped. NaN where a member has no such group. Lu and Jiang 2026,
    arXiv:2602.06869.
    """
    if rows.rewards is None:
        return {}
    advantages, known = _per_row(rows, credit)
    values, kept = rows.grid(rows.rewards.values.float())
    valid = (rows.grid((rows.rewards.valid & known[:, None]).float())[0] > 0) & kept[..., None]
    pushed = rows.grid(advantages[:, None])[0].expand_as(values)
    r, a = _centred(values, valid), _centred(pushed, valid)
    count = valid.sum(dim=2)
    shared = (r * a).sum(dim=2) / count.clamp(min=1)
    size = (r.square().sum(dim=2) * a.square().sum(dim=2)).sqrt() / count.clamp(min=1)
    varies = size > 1e-12
    both = {
        "covariance": _over_groups(shared, count >= 2),
        "correlation": _over_groups(shared / torch.where(varies, size, 1.0), varies),
    }
    return {f"{what}/{name}": x[:, k] for what, x in both.items() for k, name in enumerate(rows.rewards.names)}


def _per_row(rows: Rows, credit: Credit) -> tuple[Float[Tensor, "row"], Bool[Tensor, "row"]]:
    """Return each row's mean advantage, and whether it is no outlier of its member."""
    mask = rows.train_mask & rows.keep[:, None]
    length = credit.advantages.shape[1]  # a batch may be padded further than its credit
    each = torch.where(mask[:, :length, None], credit.advantages.float(), 0.0).sum(1)
    each = each / mask.sum(1, keepdim=True).clamp(min=1)
    if each.shape[1] > 1 and credit.weights is not None:
        each = each * credit.weights.to(each)
    total = each.sum(1)
    known = total.isfinite() & mask.any(1)
    own = known & (rows.member == torch.arange(rows.members, device=total.device)[:, None])  # member row
    middle = torch.where(own, total.abs(), torch.nan).nanmedian(dim=1).values[rows.member]
    known = known & ((middle == 0) | (total.abs() <= OUTLIER * middle))
    return torch.where(known, total, 0.0), known


def _centred(x: Tensor, valid: Tensor) -> Float[Tensor, "member prompt group objective"]:
    count = valid.sum(dim=2, keepdim=True).clamp(min=1)
    mean = torch.where(valid, x, 0.0).sum(dim=2, keepdim=True) / count
    return torch.where(valid, x - mean, 0.0)


def _over_groups(x: Float[Tensor, "member prompt objective"], known: Tensor) -> Float[Tensor, "member objective"]:
    """Return the mean over the groups where it is known; NaN where it is nowhere."""
    count = known.sum(dim=1)
    return torch.where(count > 0, torch.where(known, x, 0.0).sum(dim=1) / count.clamp(min=1), torch.nan)
