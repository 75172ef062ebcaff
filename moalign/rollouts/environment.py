"""The text environment: what a collector draws from and is scored by, at one step."""

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moalign.data import PromptSet, tokenize
from moalign.errors import ConfigError
from moalign.objectives import Objective, gated, ideal_nadir, trained
from moalign.records import Examples, Prompts, Rewards, Rows, Samples, Stream
from moalign.rewards import Scorer, TrainerState
from moalign.rewards.scorer import is_count
from moalign.rewards.texts import text_of

log = logging.getLogger("moalign")


@dataclass
class Ledger:
    """What scoring noticed, shared by an environment's steps until `TextEnvironment.drain` takes it."""

    totals: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def add(self, metrics: dict[str, float], rows: int) -> None:
        """Add the metrics of one call: timeouts are summed, the rest averaged over rows."""
        if not rows:
            return
        for name, value in metrics.items():
            summed = is_count(name)
            self.totals[name] = self.totals.get(name, 0.0) + value * (1 if summed else rows)
            self.weights[name] = 1.0 if summed else self.weights.get(name, 0.0) + rows


@dataclass(frozen=True)
class TextEnvironment:
    """Prompts drawn in a seeded order and completions scored by the objectives, at one step (`at`).

    Order, within round 0: epoch after epoch, each a permutation of all prompts, of which step s takes positions
    s·count to (s+1)·count; a pure function of (seed, purpose, step, round), so a resumed run draws what the first
    one would have. Each further round has an order of its own.
    """

    data: PromptSet
    tokenizer: PreTrainedTokenizerBase
    scorer: Scorer
    objectives: tuple[Objective, ...]
    _: KW_ONLY
    seed: int
    max_completion_length: int
    purpose: str = "data"
    step: int = 0
    steps: int = 0  # of the whole run, for rewards that read `trainer_state.max_steps`; 0: not known
    tracked: bool = False  # True: `names` and rewards hold the objectives that are only tracked, too
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.data):
            raise ConfigError("an environment needs at least one prompt; the data set is empty.")
        if self.scorer.names != tuple(o.name for o in self.objectives):
            raise ConfigError(f"`scorer` scores {self.scorer.names}; make it from the same objectives, in one order.")

    @property
    def counted(self) -> tuple[Objective, ...]:
        """The objectives that rewards hold."""
        return self.objectives if self.tracked else trained(self.objectives)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the objectives that rewards hold."""
        return tuple(o.name for o in self.counted)

    def at(self, step: int) -> "TextEnvironment":
        """Return this environment at another step."""
        return replace(self, step=step)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        """Return the random numbers of this step for one purpose."""
        return Stream(self.seed, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        """Return the `count` prompts of this step and round."""
        return self._drawn(self._index(count, round))

    def all(self, limit: int | None = None) -> Prompts:
        """Return `limit` prompts for evaluation, a seeded sample so that a sorted file does no harm; None: all."""
        if limit is None or limit >= len(self.data):
            return self._drawn(list(range(len(self.data))))
        order = torch.randperm(len(self.data), generator=Stream(self.seed, 0, self.purpose).generator("evaluation"))
        return self._drawn(order[:limit].tolist())

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        """Return this step's prompts with the answers that stand in these columns of the data."""
        index = self._index(count, 0)
        data = self.data.columns
        for name in columns:
            if name not in data:
                raise ConfigError(f"the data has no column `{name}`; it has {', '.join(data)}.")
        return Examples(self._drawn(index), [[text_of(data[name][i]) for name in columns] for i in index])

    def _index(self, count: int, round: int) -> list[int]:
        total = len(self.data)
        start = self.step * count
        first, last = start // total, (start + max(count, 1) - 1) // total
        keys = [Stream(self.seed, epoch, self.purpose, round).generator("order") for epoch in range(first, last + 1)]
        order = torch.cat([torch.randperm(total, generator=key) for key in keys])
        return order[start - first * total :][:count].tolist()

    def _drawn(self, index: Sequence[int]) -> Prompts:
        chosen = self.data.rows(index)
        tokens, mask = tokenize(chosen, self.tokenizer)
        return Prompts(torch.tensor(chosen.ids, dtype=torch.long), tokens, mask, chosen.columns)

    def encode(self, completions: Sequence[str]) -> Samples:
        """Return texts as rows that end with the end token; one cut off at `max_completion_length` has none."""
        end: Any = self.tokenizer.eos_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end token to close the data's completions with; set `eos_token`.")
        given: Any = self.tokenizer(list(completions), add_special_tokens=False)["input_ids"] if completions else []
        lists = [ids if ids[-1:] == [end] else [*ids, end] for ids in given]
        finished = torch.tensor([len(ids) <= self.max_completion_length for ids in lists], dtype=torch.bool)
        lists = [ids[: self.max_completion_length] for ids in lists]
        lengths = torch.tensor([len(ids) for ids in lists], dtype=torch.long)
        width = int(lengths.max()) if lists else 0
        pad: Any = self.tokenizer.pad_token_id
        tokens = torch.tensor([ids + [pad] * (width - len(ids)) for ids in lists], dtype=torch.long)
        mask = torch.arange(width) < lengths.unsqueeze(1)
        return Samples(tokens.reshape(len(lists), width), mask, torch.zeros(len(lists), width), finished)

    def decode(self, tokens: list[list[int]]) -> list[str]:
        """Return the text of lists of tokens as rewards see it: special tokens leave nothing."""
        texts: Any = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts

    def score(self, rows: Rows) -> Rows:
        """Return the rows with rewards, larger is better, and the columns `completion` and what rewards logged.

        Rows that are not kept are not scored: they have no valid reward and the completion "".
        """
        if "prompt" not in rows.columns:
            raise ConfigError("these rows have no column `prompt`; score the whole batch, before rows are selected.")
        kept = rows.keep.nonzero().flatten()
        index = kept.tolist()
        tokens, mask = rows.tokens[kept].cpu(), rows.completion_mask[kept].cpu()
        ids = [line[seen].tolist() for line, seen in zip(tokens, mask)]
        texts = self.decode(ids)
        taken = {name: [column[i] for i in index] for name, column in rows.columns.items()}
        state = TrainerState(global_step=self.step, max_steps=self.steps)
        result = self.scorer.score(taken["prompt"], texts, ids, taken, state)
        values, valid = gated(self.objectives, result.values, result.valid)
        self.ledger.add(result.metrics, len(index))
        self._warn_constant(values, valid)
        logged = {"completion": texts, **result.extras}
        columns = {
            **rows.columns,
            **{name: _spread(column, index, len(rows), "" if name == "completion" else None)
               for name, column in logged.items()},
        }  # fmt: skip
        return replace(rows, rewards=self._rewards(values, valid, kept, len(rows)), columns=columns)

    def _rewards(
        self, values: Float[Tensor, "kept all"], valid: Bool[Tensor, "kept all"], kept: Int[Tensor, "kept"], total: int
    ) -> Rewards:
        position = {o.name: i for i, o in enumerate(self.objectives)}
        pick = torch.tensor([position[name] for name in self.names])
        signs = torch.tensor([float(o.sign) for o in self.counted])
        out = torch.zeros(total, len(pick), device=kept.device)
        known = torch.zeros(total, len(pick), dtype=torch.bool, device=kept.device)
        out[kept] = torch.where(valid, values, 0.0)[:, pick].mul(signs).to(kept.device)
        known[kept] = valid[:, pick].to(kept.device)
        ideal, nadir = ideal_nadir(self.counted)
        return Rewards(out, known, self.names, ideal.to(kept.device), nadir.to(kept.device))

    def _warn_constant(self, values: Float[Tensor, "kept all"], valid: Bool[Tensor, "kept all"]) -> None:
        for i, o in enumerate(self.objectives):
            given = values[valid[:, i], i]
            if len(values) and not len(given) and f"{o.name} missing" not in self.ledger.warned:
                self.ledger.warned.add(f"{o.name} missing")
                log.warning("objective `%s` gave no value for any of %d completions", o.name, len(values))
            if o.optimize and o.name not in self.ledger.warned and len(given) > 1 and bool((given == given[0]).all()):
                self.ledger.warned.add(o.name)
                log.warning("objective `%s` gave the same value for all %d completions; it teaches nothing",
                            o.name, len(given))  # fmt: skip

    def drain(self) -> dict[str, Tensor]:
        """Return the scorer's metrics since the last call: timeouts summed, the rest averaged by rows."""
        ledger = self.ledger
        means = {name: torch.tensor(total / ledger.weights[name]) for name, total in ledger.totals.items()}
        ledger.totals.clear()
        ledger.weights.clear()
        return means


def _spread(values: Sequence[Any], index: Sequence[int], total: int, missing: Any) -> list[Any]:
    out = [missing] * total
    for i, value in zip(index, values, strict=True):
        out[i] = value
    return out
