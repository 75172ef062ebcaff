"""String metrics on sentences short enough to count by hand."""

import math

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.rewards import BLEU, ChrF, RougeL, Scorer

METRICS = [BLEU(), ChrF(), RougeL()]


def test_bleu_of_one_sentence_by_hand():
    # the cat sat on the mat / the cat sat on a mat: words 5 of 6; pairs (3 + 1) / (5 + 1); triples (2 + 1) / (4 + 1);
    # fours (1 + 1) / (3 + 1); equally long
    value = BLEU()(completions=["the cat sat on the mat"], reference=["the cat sat on a mat"])
    assert value == pytest.approx([(5 / 6 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25])


def test_bleu_of_a_short_sentence_by_hand():
    # the cat / the cat sat: words 2 of 2, pairs (1 + 1) / (1 + 1), nothing longer; shorter: exp(1 - 3/2). Longer runs
    # than the sentence has do not count
    value = BLEU()(completions=["the cat"], reference=["the cat sat"])
    assert value == pytest.approx([math.exp(-0.5)])


def test_chrf_by_hand():
    # ab / abc: 1-grams 2 of 2 and 2 of 3, 2-grams 1 of 1 and 1 of 2, 3-grams none of ab; F with beta 2 of the means
    precision, recall = (1 + 1) / 2, (2 / 3 + 1 / 2) / 2
    value = ChrF()(completions=["ab"], reference=["abc"])
    assert value == pytest.approx([5 * precision * recall / (4 * precision + recall)], abs=0.15)
    assert 0 < value[0] < 1


def test_rouge_l_is_the_longest_common_subsequence():
    # police killed the gunman / police kill the gunman, the gunman kill police: 3 of 4, and 2 of 4
    said = ["police kill the gunman", "the gunman kill police"]
    assert RougeL()(completions=said, reference=["police killed the gunman"] * 2) == [0.75, 0.5]
    assert RougeL(stem=True)(completions=said[:1], reference=["police killed the gunman"]) == [1.0]


@pytest.mark.parametrize("reward", METRICS, ids=lambda r: type(r).__name__)
def test_what_every_metric_does(reward):
    same, other, empty = reward(completions=["a b c d e"] * 2 + [""], reference=["a b c d e", "v w x y z", "a"])
    assert same == pytest.approx(1.0) and same <= 1.0 and other < 0.2 and empty == 0.0
    assert reward(completions=["a"] * 4, reference=[None, "", [], [" "]]) == [None] * 4
    several = reward(completions=["the cat sat"], reference=[["dogs ran off", "the cat sat"]])
    assert several == pytest.approx([1.0])  # the best of them
    chat = [{"role": "assistant", "content": "the cat sat"}]
    assert reward(completions=[chat], reference=[chat]) == pytest.approx([1.0])


@pytest.mark.parametrize("reward", METRICS, ids=lambda r: type(r).__name__)
def test_in_a_scorer(reward):
    with Scorer([Objective("overlap", reward, bounds=(0, 1))]) as scorer:
        assert "asks for the column `reference`" in scorer.problems(["answer"])[0]
        result = scorer.score(["p", "p"], ["a cat", "a dog"], columns={"reference": ["a cat", None]})
        assert result.valid.tolist() == [[True], [False]]
    with pytest.raises(RewardError, match="no column `reference`"):
        reward(completions=["a"], answer=["a"])


def test_chrf_refuses_a_negative_order():
    with pytest.raises(ConfigError, match="`word_order` must be at least 0, got -1"):
        ChrF(word_order=-1)
