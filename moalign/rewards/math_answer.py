"""Is the answer the same mathematical object as the data's? Numbers, fractions, expressions, sets, in text or LaTeX."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moalign.parts import register
from moalign.rewards.reading import column_of, need
from moalign.rewards.texts import text_of


@register(
    "reward", "math-answer", test="tests/rewards/test_verifiers.py::test_math_answer_compares_objects_not_spellings"
)
@dataclass(frozen=True)
class MathAnswer:
    r"""1 where the completion's answer equals the one in `column`, else 0, as the library ``math-verify`` compares.

    None where `column` holds nothing that can be read. A boxed answer counts before others; with `strict`, only LaTeX
    that is boxed or announced ("the final answer is") counts, as in TRL. An absurd answer may take minutes: give the
    objective ``isolate=True``, where one that takes more than `seconds` is wrong (in a thread nothing can stop it).

    >>> reward = MathAnswer(column="solution")
    >>> reward(completions=[r"so \boxed{\frac{2}{4}}", "it is 3", "0.5"], solution=["1/2", "1/2", r"$\frac12$"])
    [1.0, 0.0, 1.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("correct", reward, isolate=True)
    """

    column: str = "answer"
    strict: bool = False
    seconds: int = 5

    def __post_init__(self) -> None:
        need("math_verify", "math-verify", "MathAnswer")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def prepare(self) -> None:
        import math_verify  # noqa: F401 - seconds, which should not count against the first call

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        answers = column_of(columns, self.column)
        return [self._compare(text_of(text), answer) for text, answer in zip(completions, answers, strict=True)]

    def _compare(self, text: str, answer: Any) -> float | None:
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

        limit = self.seconds if threading.current_thread() is threading.main_thread() else 0
        for name in ("parser", "grader"):  # each says once that it has no limit in a thread; that is known here
            logging.getLogger(f"math_verify.{name}").setLevel(logging.ERROR)
        true = None if answer is None else _timed(lambda: parse(str(answer), parsing_timeout=limit))
        if not true:
            return None
        latex = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=not self.strict)
        ways = [latex] if self.strict else [latex, ExprExtractionConfig()]
        mode = "first_match"
        said = _timed(lambda: parse(text, extraction_config=ways, extraction_mode=mode, parsing_timeout=limit))
        return float(_timed(lambda: verify(true, said, timeout_seconds=limit)))


def _timed(work: Callable[[], Any]) -> Any:
    """Do work that sets and clears the process's one alarm clock, and wind up again the alarm that it found."""
    left = signal.getitimer(signal.ITIMER_REAL)[0] if hasattr(signal, "getitimer") else 0.0
    began = time.monotonic()
    try:
        return work()
    finally:
        if left and threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001))
