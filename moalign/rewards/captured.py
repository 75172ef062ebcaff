"""Does the part of the completion that a pattern captures say what the data set says?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.reading import column_of
from moalign.rewards.texts import text_of


@register("reward", "captured", test="tests/rewards/test_verifiers.py::test_captured_compares_the_last_match")
@dataclass(frozen=True)
class Captured:
    r"""1 where what `pattern` last captures equals `column`, else 0; case and runs of blanks do not count.

    The first group is compared, or the whole match of a pattern without groups. None where `column` holds None. With
    `is_pattern`, `column` holds regular expressions which the captured text must match whole.

    >>> reward = Captured(r"(?s)<answer>(.*?)</answer>")
    >>> reward(completions=["<answer> New  York</answer>", "New York"], answer=["new york", "new york"])
    [1.0, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("correct", reward)
    """

    pattern: str
    column: str = "answer"
    is_pattern: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(f"`pattern` {self.pattern!r} is not a regular expression: {error}.") from error

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        answers = column_of(columns, self.column)
        return [
            None if answer is None else float(self._agrees(text_of(text), str(answer)))
            for text, answer in zip(completions, answers, strict=True)
        ]

    def _agrees(self, text: str, answer: str) -> bool:
        matches = list(re.finditer(self.pattern, text))
        if not matches:
            return False
        last = matches[-1]
        said = (last.group(1) if last.re.groups else last.group()) or ""
        if self.is_pattern:
            return re.fullmatch(answer, said.strip()) is not None
        return _plain(said) == _plain(answer)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
