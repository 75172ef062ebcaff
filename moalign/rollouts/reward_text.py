"""Rewards as text before a prompt, and the running statistics that their numbers are told in."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.records import Rows, State


@dataclass(frozen=True)
class RewardText:
    """Write reward values as text: ``<rm1_score> 0.4 <rm2_score> -1.3`` and a space, the form of the paper's code.

    `template` is filled for each objective with its ``number``, from 1 in the order of their names, and its ``value``;
    a tuple has one for each, in that order. `separator` stands between them and `end` before the prompt. A value is
    larger when it is better. It is a z-score of `decimals` decimals or, with `levels`, a whole number from 0 at the
    lowest reward seen to `levels` at the highest: a small tokenizer may know neither sign nor dot.

    >>> seen = {"low": torch.zeros(1, 2), "high": torch.tensor([[1.0, 2.0]])}
    >>> digits = RewardText(template="{value}", separator=",", levels=9)
    >>> digits(torch.tensor([[1.0, 0.8]]), torch.tensor([0]), seen)
    ['9,4 ']
    """

    template: str | tuple[str, ...] = "<rm{number}_score> {value}"
    separator: str = " "
    end: str = " "
    decimals: int = 1
    levels: int | None = None

    def __post_init__(self) -> None:
        for template in [self.template] if isinstance(self.template, str) else self.template:
            try:
                shown = template.format(number=1, value="\0")
            except (LookupError, ValueError) as error:
                raise ConfigError(f"`template` {template!r} may hold {{number}} and {{value}}: {error!r}.") from error
            if "\0" not in shown:
                raise ConfigError(f"`template` {template!r} has no {{value}}; rewards would not be told.")
        if self.decimals < 0 or (self.levels is not None and self.levels < 1):
            raise ConfigError(f"`decimals` is {self.decimals} and `levels` {self.levels}; at least 0, and at least 1.")

    def __call__(self, values: Float[Tensor, "row objective"], member: Int[Tensor, "row"], seen: State) -> list[str]:
        """Return each row's text, its values told in the statistics `seen` of its member."""
        values, seen = values.cpu(), {name: x[member.cpu()] for name, x in seen.items()}
        if self.levels is not None:
            numbers, decimals = shares(values, seen) * self.levels, 0
        else:
            std = (seen["square"] - seen["mean"].square()).clamp(min=0).sqrt()
            numbers, decimals = torch.where(std > 1e-6, (values - seen["mean"]) / std.clamp(min=1e-6), 0), self.decimals
        return [self._line(row, decimals) for row in numbers.tolist()]

    def _line(self, row: list[float], decimals: int) -> str:
        templates = (self.template,) * len(row) if isinstance(self.template, str) else self.template
        if len(templates) != len(row):
            raise ConfigError(f"`template` has {len(templates)} texts for {len(row)} objectives; give one for each.")
        values = [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in row]  # + 0: never "-0.0"
        told = [template.format(number=i, value=v) for i, (template, v) in enumerate(zip(templates, values), 1)]
        return self.separator.join(told) + self.end


def rewards_of(rows: Rows) -> tuple[Float[Tensor, "row objective"], Bool[Tensor, "row objective"]]:
    """Return the rewards of scored rows and which of them are there."""
    if rows.rewards is None:
        raise ConfigError("rewards are told before prompts, and this environment gives none.")
    return rows.rewards.values, rows.rewards.valid


def statistics(members: int, objectives: int) -> State:
    """Return the statistics of no rewards: count, mean, mean square, lowest and highest, by member."""
    nothing = torch.zeros(members, objectives, dtype=torch.float64)  # a mean of squares asks for the digits
    low, high = torch.full_like(nothing, torch.inf), torch.full_like(nothing, -torch.inf)
    return {"count": nothing, "mean": nothing, "square": nothing, "low": low, "high": high}


def updated(seen: State, rows: Rows) -> State:
    """Return the statistics with the rewards of these rows added."""
    values, valid = rewards_of(rows)
    values, kept = rows.grid(values.double())
    valid = ((rows.grid(valid.float())[0] > 0) & kept[..., None]).flatten(1, 2).cpu()
    values = values.flatten(1, 2).cpu()  # state of collectors lives on the CPU
    here = valid.sum(dim=1)
    count = seen["count"] + here
    share = here / count.clamp(min=1)
    mean = torch.where(valid, values, 0).sum(dim=1) / here.clamp(min=1)
    square = torch.where(valid, values.square(), 0).sum(dim=1) / here.clamp(min=1)
    return {
        "count": count,
        "mean": seen["mean"] + share * (mean - seen["mean"]),
        "square": seen["square"] + share * (square - seen["square"]),
        "low": torch.minimum(seen["low"], torch.where(valid, values, torch.inf).amin(dim=1)),
        "high": torch.maximum(seen["high"], torch.where(valid, values, -torch.inf).amax(dim=1)),
    }


def shares(values: Float[Tensor, "*batch objective"], seen: State) -> Float[Tensor, "*batch objective"]:
    """Return where values stand between the lowest reward seen, 0, and the highest, 1; 1 where these are the same."""
    room = seen["high"] - seen["low"]
    return torch.where(room > 0, (values - seen["low"]) / room.clamp(min=1e-12), 1.0).clamp(0.0, 1.0)


def wanted(target: Float[Tensor, "*batch objective"], seen: State) -> Float[Tensor, "*batch objective"]:
    """Return the rewards that shares from 0 to 1 stand for: undoes `shares`."""
    return seen["low"] + target * (seen["high"] - seen["low"])
