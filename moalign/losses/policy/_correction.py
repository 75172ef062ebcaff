"""Importance weights for tokens that another engine sampled, with other log-probabilities than the trainer's."""

from moalign.errors import ConfigError
from moalign.losses.policy._behaviour import Weights, apart
from moalign.parts import register
from moalign.records import Need, Rows

TEST = "tests/losses/test_correction.py::test_by_hand"


@register("correction", "truncated", paper="yao2025offpolicy", test=TEST, needs=[Need.OLD])
def truncated(rows: Rows, *, level: str = "token", floor: float | None = None, cap: float | None = 3.0) -> Weights:
    r"""Return :math:`\mathrm{clip}(e^{\log\pi_{old}-\log\mu}, floor, cap)`, :math:`\mu` the engine that sampled.

    At the `level` of a token, or of a sequence by the sum over its tokens. None is no bound; TRL's cap is 3. Yao et al.
    2025, fengyao.notion.site/off-policy-rl (no floor); by sequence: Liu et al. 2025, richardli.xyz/rl-collapse.
    """
    return _ratio(rows, level).clamp(*_bounds(floor, cap))


@register("correction", "masked", paper="liu2025mismatch", test=TEST, needs=[Need.OLD])
def masked(rows: Rows, *, level: str = "token", floor: float | None = None, cap: float | None = 3.0) -> Weights:
    r"""Return :math:`e^{\log\pi_{old}-\log\mu}` where it is within `floor` and `cap`, and 0 elsewhere.

    What was sampled too differently trains nothing; see `truncated`. Liu et al. 2025, richardli.xyz/rl-collapse.
    """
    ratio = _ratio(rows, level)
    low, high = _bounds(floor, cap)
    return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)


def _ratio(rows: Rows, level: str) -> Weights:
    if level not in ("token", "sequence"):
        raise ConfigError(f"`level` must be 'token' or 'sequence', got {level!r}.")
    each = apart(rows)
    return (each.sum(1, keepdim=True) if level == "sequence" else each).exp()


def _bounds(floor: float | None, cap: float | None) -> tuple[float, float]:
    low, high = 0.0 if floor is None else floor, float("inf") if cap is None else cap
    if low >= high:
        raise ConfigError(f"`floor` must be below `cap`, got {floor} and {cap}.")
    return low, high
