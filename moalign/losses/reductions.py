"""Reductions: the weight of every token, computed once on the whole batch, so that micro-batches only add up.

Weights are per member: a member's loss does not depend on who is trained beside it. Rows that are not kept and tokens
that are not trained weigh 0.
"""

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import Same, register
from moalign.records import Credit, Rows

Tokens = Float[Tensor, "row token"]
LIMIT = Same("max_completion_length")


@register("reduction", "token-mean", paper="yu2025dapo", test="tests/losses/test_reductions.py::test_by_hand")
def token_mean(rows: Rows, credit: Credit) -> Tokens:
    """Weight a member's tokens equally, 1 / (all its tokens): long completions count more (TRL's dapo and bnpo)."""
    mask = _mask(rows)
    return mask / _per_member(mask.sum(1), rows).clamp(min=1)[:, None]


@register(
    "reduction", "sequence-mean", paper="shao2024deepseekmath", test="tests/losses/test_reductions.py::test_by_hand"
)
def sequence_mean(rows: Rows, credit: Credit) -> Tokens:
    """Weight a member's completions equally, 1 / (its rows · tokens in the row) (TRL's grpo)."""
    mask = _mask(rows)
    return mask / mask.sum(1, keepdim=True).clamp(min=1) / _kept(rows)


@register("reduction", "constant", paper="liu2025drgrpo", test="tests/losses/test_reductions.py::test_by_hand")
def constant(rows: Rows, credit: Credit, *, length: int | Same = LIMIT) -> Tokens:
    """Weight every token 1 / (the member's rows · ``length``), whatever the completions' lengths (TRL's dr_grpo).

    In a recipe ``length`` follows `max_completion_length` unless a number is given.
    """
    if isinstance(length, Same):
        raise ConfigError("`length` follows a recipe's `max_completion_length`; outside a recipe pass a number.")
    return _mask(rows) / (_kept(rows) * length)


@register("reduction", "sequence-sum", test="tests/losses/test_reductions.py::test_by_hand")
def sequence_sum(rows: Rows, credit: Credit) -> Tokens:
    """Weight every token 1 / (the member's rows): the mean over completions of sums over tokens."""
    return _mask(rows) / _kept(rows)


def _mask(rows: Rows) -> Tokens:
    return (rows.train_mask & rows.keep[:, None]).float()


def _kept(rows: Rows) -> Float[Tensor, "row 1"]:
    return _per_member(rows.keep.float(), rows).clamp(min=1)[:, None]


def _per_member(x: Float[Tensor, "row"], rows: Rows) -> Float[Tensor, "row"]:
    """Return each row's member's total."""
    return x.new_zeros(rows.members).index_add(0, rows.member, x)[rows.member]
