"""String metrics against references in the data: BLEU, chrF, ROUGE-L, each from 0 to 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.reading import column_of, need
from moalign.rewards.texts import text_of


@register(
    "reward",
    "bleu",
    paper="chang2025bleuberi",
    test="tests/rewards/test_text_overlap.py::test_bleu_of_one_sentence_by_hand",
)
@dataclass(frozen=True)
class BLEU:
    """BLEU of each completion against `column`, one reference or a list of them; sacrebleu's, from 0 to 1.

    Precisions of more than one word are (matches + 1) / (n-grams + 1), so that a completion without a common run of
    four words is not worth 0. None where there is no reference. Chang et al. 2025, arXiv:2505.11080, whose code takes
    another library's BLEU: that one smooths single words, too, and measures length by the shortest reference.

    >>> BLEU()(completions=["the cat sat", "dogs"], reference=["the cat sat", ["the cat", "a cat"]])
    [1.0, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("bleu", BLEU(column="reference"), bounds=(0, 1))
    """

    column: str = "reference"

    def __post_init__(self) -> None:
        need("sacrebleu", "sacrebleu", "BLEU")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        from sacrebleu.metrics.bleu import BLEU as Metric

        metric = Metric(smooth_method="add-k", smooth_value=1, effective_order=True)
        pairs = zip(completions, column_of(columns, self.column), strict=True)
        return [
            min(metric.sentence_score(text_of(text), known).score / 100, 1.0) if (known := references(given)) else None
            for text, given in pairs
        ]


@register("reward", "chrf", paper="popovic2015chrf", test="tests/rewards/test_text_overlap.py::test_chrf_by_hand")
@dataclass(frozen=True)
class ChrF:
    """chrF of each completion against `column`: the F-score of its character n-grams; sacrebleu's, from 0 to 1.

    `word_order` 2 is chrF++. With several references the best counts; None where there is none. Popović 2015.

    >>> ChrF()(completions=["a cat", "dogs"], reference=["a cat", None])
    [1.0, None]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("chrf", ChrF(), bounds=(0, 1))
    """

    column: str = "reference"
    word_order: int = 0

    def __post_init__(self) -> None:
        need("sacrebleu", "sacrebleu", "ChrF")
        if self.word_order < 0:
            raise ConfigError(f"`word_order` must be at least 0, got {self.word_order}.")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF(word_order=self.word_order)
        pairs = zip(completions, column_of(columns, self.column), strict=True)
        return [
            min(metric.sentence_score(text_of(text), known).score / 100, 1.0) if (known := references(given)) else None
            for text, given in pairs
        ]


@register(
    "reward",
    "rouge-l",
    paper="lin2004rouge",
    test="tests/rewards/test_text_overlap.py::test_rouge_l_is_the_longest_common_subsequence",
)
@dataclass(frozen=True)
class RougeL:
    """F-score of the longest common subsequence of words of each completion and `column`; rouge-score's, from 0 to 1.

    Words are runs of a-z and 0-9 in small letters: other scripts leave none. With several references the best counts;
    None where there is none. Lin 2004.

    >>> RougeL()(completions=["the cat sat down"], reference=["so the dog sat"])  # 2 common of 4 and of 4
    [0.5]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("rouge", RougeL(), bounds=(0, 1))
    """

    column: str = "reference"
    stem: bool = False

    def __post_init__(self) -> None:
        need("rouge_score", "rouge-score", "RougeL")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def prepare(self) -> None:
        import rouge_score.rouge_scorer  # noqa: F401 - seconds, which should not count against the first call

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        from rouge_score.rouge_scorer import RougeScorer

        metric = RougeScorer(["rougeL"], use_stemmer=self.stem)
        pairs = zip(completions, column_of(columns, self.column), strict=True)
        return [
            float(metric.score_multi(known, text_of(text))["rougeL"].fmeasure) if (known := references(given)) else None
            for text, given in pairs
        ]


def references(given: Any) -> list[str]:
    """Return the references in one cell of a column: a text, a chat's reply, or a list of either; empty ones are none.

    >>> references("a"), references(["a", "b"]), references([{"role": "assistant", "content": "a"}]), references(None)
    (['a'], ['a', 'b'], ['a'], [])
    """
    if given is None:
        return []
    if isinstance(given, str) or (len(given) and isinstance(given[0], Mapping)):
        given = [given]
    return [text for item in given if (text := text_of(item)).strip()]
