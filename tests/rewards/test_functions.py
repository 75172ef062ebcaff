from decimal import Decimal

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.parts import Bound, spec
from moalign.rewards import brevity, exact_number, matches, token_count
from moalign.rewards.verifier import last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("the answer is 42", "42"),
        ("42.", "42"),
        ("-3", "-3"),
        ("5-3", "3"),
        ("5 - -3", "-3"),
        ("x=−7", "-7"),  # the minus of typography
        ("1,234,567.5 dollars", "1234567.5"),
        ("pick 1,2", "2"),
        ("1,2345", "2345"),
        (".5", "0.5"),
        ("2.5e3", "2500"),
        ("#### 72", "72"),
    ],
)
def test_last_number(text, number):
    assert last_number(text) == Decimal(number)


def test_last_number_of_words_and_of_absurd_exponents():
    assert last_number("no number, none.") is None
    assert last_number("1e99999999999") == Decimal(99999999999)  # not an exponent anyone means, and no overflow


def test_exact_number_compares_values_and_skips_what_does_not_apply():
    chat = [{"role": "assistant", "content": "so 7"}]
    reward = exact_number("solution")
    assert reward(completions=["7.0", "8", chat, "1"], solution=[7, "7", "7", None]) == [1.0, 0.0, 1.0, None]
    with pytest.raises(RewardError, match=r"no column `solution`, but answer"):
        reward(completions=["7"], prompts=["?"], answer=["7"])


def test_lengths():
    assert token_count([[1, 2, 3], []], answer=["a", "b"]) == [3.0, 0.0]
    assert brevity(4)(completion_ids=[[1, 2, 3], [1] * 5]) == [0.25, -0.25]
    with pytest.raises(ConfigError, match="`max_tokens` must be above 0, not 0"):
        brevity(0)


def test_matches_searches_and_refuses_a_broken_pattern():
    assert matches("^a.c$")(completions=["abc", "xabc", [{"role": "assistant", "content": "adc"}]]) == [1.0, 0.0, 1.0]
    with pytest.raises(ConfigError, match="not a regular expression"):
        matches("(")


def test_rewards_with_options_are_values_that_can_be_recorded():
    assert isinstance(brevity(4), Bound) and brevity(4) == brevity(4) != brevity(5)
    assert spec(matches("a")) == {"part": "moalign.rewards.format:found", "pattern": "a"}
