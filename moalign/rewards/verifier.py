"""Verifiers: does the completion say what the data set says?"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from moalign.errors import RewardError
from moalign.parts import Bound, bind
from moalign.rewards.calling import GIVEN
from moalign.rewards.texts import text_of

# A sign counts unless it follows a digit, word or point (5-3 holds 5 and 3); commas only between groups of three.
NUMBER = re.compile(
    r"(?:(?<![\w.)])[-+−])?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\d))?"
)


def exact_number(column: str = "answer") -> Bound:
    """Return a reward: 1 where the last number of the completion equals the last one in `column`, else 0.

    None where the column holds no number. Values are compared, not spellings: 1,000.0 is 1000.

    >>> exact_number()(completions=["so it is 1,000.", "no idea"], answer=["#### 1000", "3"])
    [1.0, 0.0]
    """
    return bind(last_number_equals, column=column)


def last_number_equals(completions: Sequence[Any], *, column: str = "answer", **columns: Any) -> list[float | None]:
    """Compare the last number of each completion with the last one in a column; see `exact_number`."""
    if column not in columns:
        has = ", ".join(sorted({*columns} - {*GIVEN}))
        raise RewardError(f"the data has no column `{column}`, but {has or 'none at all'}; pass `column=`")
    answers = [last_number(str(answer)) for answer in columns[column]]
    said = [last_number(text_of(completion)) for completion in completions]
    return [None if a is None else float(s == a) for s, a in zip(said, answers, strict=True)]


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text.

    >>> last_number("5-3 = 2"), last_number("x = -1,234.50."), last_number("none")
    (Decimal('2'), Decimal('-1234.50'), None)
    """
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "").replace("−", "-")) if found else None
