"""Scoring split among processes."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from moalign.objectives import Objective
from moalign.rewards import Scorer
from moalign.rewards.shared import SharedScorer, stretch

PROMPTS = ["p", "p", "q", "q", "q"]
TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]


@dataclass
class Mate:
    """One of two processes, played by a thread."""

    part: int
    said: list[Any]
    both: threading.Barrier
    parts: int = 2

    def exchange(self, value: Any) -> list[Any]:
        self.said[self.part] = value
        self.both.wait()
        return list(self.said)

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        raise AssertionError("scoring sums nothing")


def test_each_completion_is_scored_once_and_everybody_knows_all() -> None:
    seen: list[str] = []

    def length(completions, completion_ids, weight, log_metric, log_extra, **columns):
        seen.extend(completions)
        assert [len(ids) for ids in completion_ids] == [len(text) for text in completions]
        log_metric("mean_weight", sum(weight) / len(weight))
        log_extra("twice", [2 * len(text) for text in completions])
        return [None if text == "dddd" else w * len(text) for text, w in zip(completions, weight)]

    objectives = [Objective("length", length)]
    given = (PROMPTS, TEXTS, [[7] * len(text) for text in TEXTS], {"weight": [1.0, 1.0, 2.0, 2.0, 3.0]})
    with Scorer(objectives) as scorer:
        whole = scorer.score(*given)
    seen.clear()
    results: list[Any] = [None, None]
    said, both = [None, None], threading.Barrier(2, timeout=20)

    def work(part: int) -> None:
        with SharedScorer(objectives, Mate(part, said, both)) as scorer:
            results[part] = scorer.score(*given)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == TEXTS
    for found in results:
        assert found.values.tolist() == whole.values.tolist() == [[1.0], [2.0], [6.0], [0.0], [15.0]]
        assert found.valid.tolist() == whole.valid.tolist()
        assert found.extras == whole.extras == {"twice": [2, 4, 6, 8, 10]}
        # (2 rows of mean 1 and 3 of mean 7/3) / 5 is 9/5
        assert found.metrics == {**whole.metrics, "mean_weight": (2 * 1 + 3 * (7 / 3)) / 5}


def test_a_process_without_completions_scores_none_and_counts_no_timeout() -> None:
    assert [stretch(["p"] * 4, part, 2) for part in range(2)] == [(0, 4), (4, 4)]
    with Scorer([Objective("length", lambda completions: [len(text) for text in completions])]) as scorer:
        for _ in range(4):  # three timeouts in a row would end a run
            nothing = scorer.score([], [])
    assert nothing.values.shape == (0, 1) and nothing.metrics == {}
