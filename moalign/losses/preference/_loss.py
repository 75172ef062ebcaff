"""The preference loss: score × link, over pairs of completions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.losses.preference._links import dpo
from moalign.losses.preference._scores import summed
from moalign.parts import Bound, bind, fields, look_up_names, part, register
from moalign.records import Couples, Credit, Outputs, Rows


@register("loss", "preference", test="tests/losses/test_preference.py::test_dpo_equals_the_closed_form")
@dataclass(frozen=True)
class PreferenceLoss:
    """The `link` of each pair's margin: the `score` of the chosen completion minus that of the rejected one.

    A pair is a group of two kept rows of one member, the chosen one first. Every token of both rows carries the pair's
    loss, so that the reduction ``sequence_mean`` gives the mean over pairs, exactly; ``token_mean`` would weight pairs
    by their length. One `beta` per member is looked up for each pair.
    """

    score: Any = part("score", bind(summed))
    link: Any = part("link", bind(dpo, beta=0.1))
    couples: ClassVar[Couples] = Couples.GROUPS

    def __post_init__(self) -> None:
        look_up_names(self)

    def __call__(self, outputs: Outputs, rows: Rows, credit: Credit) -> Float[Tensor, "row token 1"]:
        """Return each pair's loss at all tokens of its rows, 0 at the rows that are not kept."""
        pair = pairs(rows)
        score = self.score(outputs, rows)
        loss = self._link(rows.member[pair[:, 0]])(score[pair[:, 0]] - score[pair[:, 1]])
        per_row = torch.zeros_like(score).index_put((pair.flatten(),), loss.repeat_interleave(2))
        return per_row[:, None, None].expand(-1, rows.tokens.shape[1], 1)

    def _link(self, member: Int[Tensor, "pair"]) -> Any:
        """Return the link with options that are set per member looked up for each pair."""
        set_per_member = {name: value for name, value in fields(self.link).items() if isinstance(value, Tensor)}
        each = {name: value.to(member.device)[member] for name, value in set_per_member.items()}
        return bind(self.link, **each) if each and isinstance(self.link, Bound) else self.link


def pairs(rows: Rows) -> Int[Tensor, "pair 2"]:
    """Return the positions of the chosen and the rejected row of each pair, in the order of the whole batch.

    Raises `ConfigError` where a group does not have exactly two kept rows.
    """
    kept = rows.keep.nonzero()[:, 0]
    kept = kept[rows.index[kept].argsort(stable=True)]
    key = rows.member[kept] * (rows.group.max() + 1) + rows.group[kept] if len(kept) else kept
    sizes = key.unique(return_counts=True)[1]
    if (sizes != 2).any():
        raise ConfigError(
            f"`PreferenceLoss` compares pairs: every group needs exactly 2 kept rows, found one with "
            f"{int(sizes[sizes != 2][0])}; collect pairs, or filter whole groups."
        )
    return kept[key.argsort(stable=True)].view(-1, 2)
