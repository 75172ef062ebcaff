"""A reduction for each term: what is averaged over other tokens than the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from moalign.losses.reductions import token_mean
from moalign.parts import bind, look_up_names, part, register
from moalign.records import Credit, Rows


@register("reduction", "by-term", test="tests/losses/test_by_term.py::test_by_hand")
@dataclass(frozen=True, kw_only=True)
class ByTerm:
    """Weigh the tokens of the loss terms named in `terms` by reductions of their own, those of the others by `rest`.

    >>> from moalign.losses import positives
    >>> ByTerm(terms={"imitation": bind(positives)}).rest == bind(token_mean)
    True
    """

    terms: Mapping[str, Callable[..., Any]]
    rest: Any = part("reduction", bind(token_mean))

    def __post_init__(self) -> None:
        look_up_names(self)

    def problems(self, recipe: Any) -> list[str]:
        """A reduction for a term that is not there would do nothing."""
        unknown = sorted(self.terms.keys() - recipe.losses.keys())
        return [f"`reduce.terms` names `{name}`, which is not in `losses`." for name in unknown]

    def __call__(self, rows: Rows, credit: Credit) -> dict[str, Float[Tensor, "row token"]]:
        """Return the weights by term; ``""`` stands for the others."""
        return {"": self.rest(rows, credit)} | {name: reduce(rows, credit) for name, reduce in self.terms.items()}
