"""Are a completion's tool calls the right ones, by names, parameters and values? And do they have the right form?"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moalign.errors import ConfigError, RewardError
from moalign.parts import register
from moalign.rewards.reading import column_of
from moalign.rewards.texts import text_of

Call = tuple[str, Mapping[str, Any]]  # name and parameters


@register(
    "reward",
    "tool-calls",
    paper="qian2025toolrl",
    test="tests/rewards/test_tool_calls.py::test_tool_calls_are_graded_by_names_parameters_and_values",
)
@dataclass(frozen=True)
class ToolCalls:
    r"""How far the completion's tool calls agree with those in `column`, from `low` (nothing) to `high` (all).

    .. math:: low + (high - low) \frac{J(\text{names}) + \sum_{(g, p)} (J(\text{keys}) + |\text{equal values}|)}
        {1 + \sum_g (1 + |\text{keys of } g|)}

    over right calls :math:`g`, each matched with one said call :math:`p` of its name so that the sum is largest;
    :math:`J` is the overlap of two multisets over their union. Calls stand between `begin` and `end`, as JSON objects
    with ``name`` and ``parameters`` (or ``arguments``): one, a list, or one a line. Malformed ones count as `low`.
    `column` holds text of this form or a list of calls; an empty list asks for no call, and None, or text without
    calls, does not apply. Qian et al. 2025, arXiv:2504.13958; its code reads the first block only, matches greedily,
    and gives 0 where no call is asked for.

    >>> reward = ToolCalls(column="calls")
    >>> right = [{"name": "add", "parameters": {"a": 1, "b": 2}}]
    >>> said = '<tool_call>{"name": "add", "parameters": {"a": 1, "b": 3}}</tool_call>'
    >>> reward(completions=[said, "three"], calls=[right, right])  # -3 + 6 (1 + 1 + 1) / 4
    [1.5, -3.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("calls", reward, bounds=(-3, 3))
    """

    column: str = "answer"
    low: float = -3.0
    high: float = 3.0
    begin: str = "<tool_call>"
    end: str = "</tool_call>"

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"`low` must be below `high`, got {self.low} and {self.high}.")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        answers = column_of(columns, self.column)
        return [self._score(text_of(text), answer) for text, answer in zip(completions, answers, strict=True)]

    def _score(self, text: str, answer: Any) -> float | None:
        right = self._right(answer)
        if right is None:
            return None
        try:
            said = self._calls(text)
        except (ValueError, RecursionError):
            return self.low
        return self.low + (self.high - self.low) * agreement(right, said)

    def _right(self, answer: Any) -> list[Call] | None:
        if answer is None or (isinstance(answer, str) and self.begin not in answer):
            return None
        try:
            return self._calls(answer) if isinstance(answer, str) else [_call(item) for item in answer]
        except (TypeError, ValueError) as error:
            raise RewardError(f"`{self.column}` holds what is not a list of tool calls: {error}") from error

    def _calls(self, text: str) -> list[Call]:
        calls: list[Call] = []
        for block in text.split(self.begin)[1:]:
            if self.end not in block:
                raise ValueError(f"a call without `{self.end}`")
            calls += [_call(item) for item in _items(block.split(self.end)[0])]
        return calls


@register(
    "reward",
    "tool-format",
    paper="qian2025toolrl",
    test="tests/rewards/test_tool_calls.py::test_tool_format_follows_the_answer",
)
@dataclass(frozen=True)
class ToolFormat:
    """1 where the completion is a thought, then the parts that the text in `column` has: calls, a response; else 0.

    Each part once, in this order, each on a line of its own; a block of calls starts and ends with a line break.
    Qian et al. 2025, arXiv:2504.13958.

    >>> right = '<tool_call>\\n{"name": "now", "parameters": {}}\\n</tool_call>'
    >>> ToolFormat()(completions=["<think>the time?</think>\\n" + right, right], answer=[right, right])
    [1.0, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("format", ToolFormat(), bounds=(0, 1))
    """

    column: str = "answer"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        answers = column_of(columns, self.column)
        return [
            None if answer is None else float(_well_formed(text_of(text).strip(), str(answer)))
            for text, answer in zip(completions, answers, strict=True)
        ]


def agreement(right: Sequence[Call], said: Sequence[Call]) -> float:
    """Return how far two lists of calls agree, from 0 to 1, whatever their order.

    >>> agreement([("add", {"a": 1})], [("add", {"b": 1})])  # the name, of 1 + (1 + 1) points
    0.3333333333333333
    """
    from scipy.optimize import linear_sum_assignment

    points = overlap([name for name, _ in right], [name for name, _ in said])
    match = np.array([[_likeness(g, p) for p in said] for g in right]).reshape(len(right), len(said))
    points += float(match[linear_sum_assignment(match, maximize=True)].sum())
    return points / (1 + sum(1 + len(parameters) for _, parameters in right))


def overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the size of what two multisets share over that of their union; 1 for two empty ones."""
    if not a and not b:
        return 1.0
    shared = (Counter(a) & Counter(b)).total()
    return shared / (len(a) + len(b) - shared)


def _likeness(right: Call, said: Call) -> float:
    if right[0] != said[0]:
        return 0.0
    equal = sum(key in said[1] and said[1][key] == value for key, value in right[1].items())
    return overlap(list(right[1]), list(said[1])) + equal


def _items(text: str) -> list[Any]:
    """Read a block: one JSON value, a list of them, or one a line."""
    try:
        value = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.strip().split("\n")]
    return value if isinstance(value, list) else [value]


def _call(item: Any) -> Call:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise ValueError(f"{item!r} is not an object with a `name`")
    parameters = item.get("parameters", item.get("arguments"))
    if isinstance(parameters, str):  # OpenAI's form
        parameters = json.loads(parameters)
    if not isinstance(parameters, Mapping):
        raise ValueError(f"{item!r} has no `parameters`")
    return item["name"], parameters


def _well_formed(text: str, answer: str) -> bool:
    pattern = "<think>.*?</think>"
    for tag, block in (("tool_call", r"\n<tool_call>\n.*?\n</tool_call>"), ("response", r"\n<response>.*?</response>")):
        if f"<{tag}>" in answer:
            pattern += block
            if text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1:
                return False
    return re.fullmatch(pattern, text, re.DOTALL) is not None
