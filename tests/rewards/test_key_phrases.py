"""Phrases of reasoning, counted."""

import pytest

from moalign.errors import ConfigError
from moalign.rewards import KeyPhrases


def test_counts_phrases_and_takes_off_for_repeats():
    reward = KeyPhrases(("wait", "Therefore", "let me see"), enough=4, repeat=2)
    said = [
        "Wait, let me see: therefore it is 4",  # three of four
        "wait wait",  # counted once; of one pair none repeats
        "wait a b a b a b",  # 1/4, less 2 of the 6 pairs: not below 0
        "therefore x y, wait x y!",  # no pair of words repeats: y, and y! are other words
        [{"role": "assistant", "content": "WAIT"}],
        "",
    ]
    assert reward(completions=said) == pytest.approx([0.75, 0.25, 0.0, 0.5, 0.25, 0.0])


def test_repeats_are_the_share_of_runs_that_are_there_more_than_once():
    # words a b a b c: pairs ab ba ab bc; one of the three different ones is there twice: 1 of 4
    reward = KeyPhrases(("a",), enough=1, repeat=2)
    assert reward(completions=["a b a b c"]) == [1 - 1 / 4]


def test_no_more_than_1_and_the_same_phrase_twice_is_one():
    assert KeyPhrases(("a", "b", "c"), enough=2)(completions=["abc"]) == [1.0]
    assert KeyPhrases(("a", "A"), enough=2)(completions=["a"]) == [0.5]


@pytest.mark.parametrize("phrases", ["therefore", (), ("",)])
def test_refuses_what_are_no_phrases(phrases):
    with pytest.raises(ConfigError, match="`phrases` must be several texts"):
        KeyPhrases(phrases)
    with pytest.raises(ConfigError, match="must be at least 1, got 0 and 20"):
        KeyPhrases(("a",), enough=0)
