"""Answers, JSON and captured text against what the data says."""

import json
import signal

import pytest
from trl.rewards.accuracy_rewards import accuracy_reward

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import build, spec
from moalign.rewards import Captured, JsonSchema, MathAnswer, Scorer
from moalign.rewards.reading import need


def chat(text):
    return [{"role": "assistant", "content": text}]


def test_math_answer_compares_objects_not_spellings():
    said = ["it is 0.5", r"\boxed{\frac{1}{2}}", r"first $3$, so \boxed{2}", "no idea", chat("$x^2 + 2x + 1$")]
    true = ["1/2", 0.5, "2", "2", "$(x+1)^2$"]
    assert MathAnswer()(completions=said, answer=true) == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_math_answer_does_not_apply_without_an_answer():
    assert MathAnswer()(completions=["1", "1"], answer=[None, "no number, none"]) == [None, None]


def test_strict_math_answer_agrees_with_trl():
    said = [
        r"\boxed{\frac{1}{3}}",
        r"\boxed{\frac{1}{2}}",
        "1/3",
        r"The final answer is $\frac{2}{6}$.",
        r"\boxed{x}",
        "nothing",
    ]
    true = [r"\frac{1}{3}"] * 5 + [r"\boxed{4}"]
    theirs = accuracy_reward([chat(text) for text in said], true)
    assert theirs == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert MathAnswer(strict=True)(completions=said, answer=true) == theirs


def test_math_answer_leaves_an_alarm_that_was_set():
    def ring(number, frame):
        raise AssertionError("too early")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 500.0)
    try:
        MathAnswer()(completions=["4"], answer=["4"])  # in the main thread it sets the same clock
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_math_answer_in_a_scorer_takes_its_column_from_the_data():
    reward = MathAnswer(column="solution")
    with Scorer([Objective("correct", reward)]) as scorer:
        assert "asks for the column `solution`" in scorer.problems(["answer"])[0]
        assert scorer.problems(["solution"]) == []
        assert scorer.score(["?"], [r"$\frac{4}{2}$"], columns={"solution": ["2"]}).values.tolist() == [[1.0]]


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}


def test_json_schema_validates():
    said = ['{"age": 3}', '{"age": -3}', '{"age": 3', "[]", 'Here:\n```json\n{"age": 4}\n```\nThanks.', '{"age": NaN}']
    assert JsonSchema(SCHEMA)(completions=said) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert JsonSchema(SCHEMA)(completions=["[" * 100_000]) == [0.0]  # deeper than Python can read
    assert JsonSchema(True)(completions=["3", "three"]) == [1.0, 0.0]


def test_json_schema_from_a_column():
    reward = JsonSchema(column="schema")
    assert reward.columns == ("schema",)
    columns = [SCHEMA, json.dumps(SCHEMA), None, {"type": "array"}]
    assert reward(completions=['{"age": 3}'] * 4, schema=columns) == [1.0, 1.0, None, 0.0]
    with pytest.raises(RewardError, match="is not a JSON Schema"):
        reward(completions=["1"], schema=[{"type": "number or so"}])
    with pytest.raises(RewardError, match="is not JSON: "):
        reward(completions=["1"], schema=["{"])


def test_json_schema_never_fetches():
    with pytest.raises(Exception, match=r"example\.invalid"):
        JsonSchema({"$ref": "http://example.invalid/schema"})(completions=["1"])


@pytest.mark.parametrize("options", [{}, {"schema": {}, "column": "schema"}])
def test_json_schema_has_one_source(options):
    with pytest.raises(ConfigError, match="either a `schema` or a `column`"):
        JsonSchema(**options)
    with pytest.raises(ConfigError, match="`schema` is not a JSON Schema: 'odd' is not valid"):
        JsonSchema({"type": "odd"})


def test_captured_compares_the_last_match():
    reward = Captured(r"answer: (\w+)")
    said = ["answer: no. answer: Yes", "answer: yes. answer: no", "yes", chat("answer: YES")]
    assert reward(completions=said, answer=["yes"] * 4) == [1.0, 0.0, 0.0, 1.0]
    assert reward(completions=["answer: 1"], answer=[None]) == [None]
    assert Captured(r"\d+")(completions=["3 or 14"], answer=[14]) == [1.0]  # without a group: the whole match


def test_captured_matches_patterns_of_the_data():
    reward = Captured(r"<id>(.*?)</id>", column="form", is_pattern=True)
    said = ["<id> ab12 </id>", "<id>ab12x</id>"]
    assert reward(completions=said, form=[r"[a-z]+\d+"] * 2) == [1.0, 0.0]
    with pytest.raises(RewardError, match="no column `form`, but answer; pass `column=`"):
        reward(completions=said, answer=["a", "b"], prompts=["?", "?"])
    with pytest.raises(ConfigError, match="not a regular expression"):
        Captured("(")


def test_rewards_are_values_that_a_run_can_record():
    assert spec(Captured("x")) == {"part": "captured", "pattern": "x", "column": "answer", "is_pattern": False}
    assert MathAnswer() == MathAnswer() != MathAnswer(column="solution")
    assert hash(JsonSchema(SCHEMA)) == hash(JsonSchema(dict(SCHEMA)))  # objectives are hashed with their rewards
    assert repr(build("reward", "math_answer", column="solution")) == repr(MathAnswer(column="solution"))


def test_a_missing_package_is_named_with_the_way_to_get_it():
    with pytest.raises(ConfigError, match=r"`MathAnswer` needs math-verify, which is not .*'moalign\[text\]'"):
        need("math_verify_that_is_not_there", "math-verify", "MathAnswer")
