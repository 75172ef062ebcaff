"""Judges: what they are asked, and how their answers are read."""

import re
import time

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import spec
from moalign.rewards import Cached, Endpoint, Judge, LocalModel, Scorer
from moalign.rewards.judge import one_score
from tests.rewards.judging import serving


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Good. <score>7</score>", 7.0),
        ("<score> 7.5 </score>\n", 7.5),
        ("<think>perhaps <score>2</score></think><score>9</score>", 9.0),
        ("<score>1</score>", 1.0),
        ("<score>11</score>", None),  # outside the scale
        ("<score>0.9</score>", None),
        ("<score>7</score> or <score>8</score>", None),  # which?
        ("<score>seven</score>", None),
        ("<score>7/10</score>", None),
        ("<score>1e1</score>", None),
        ("<score>nan</score>", None),
        ("7", None),
        ("", None),
    ],
)
def test_scores_are_read_strictly(answer, score):
    assert one_score(answer, (1, 10)) == score


def length_of_response(text):
    """Judge as a model might: 1 + the number of letters between the tags."""
    said = re.search(r"<response>\n(.*)\n</response>", text, re.DOTALL)
    assert said is not None
    return f"<score>{1 + len(said.group(1))}</score>"


def test_a_judge_is_an_objective_and_counts_what_it_could_not_read():
    def reply(text):
        return {"bad": "who knows", "off": (503, "", {})}.get(text.split("\n")[7], length_of_response(text))

    with serving(reply) as server:
        judge = Judge(Endpoint(server.url, "tiny", retries=0))
        with Scorer([Objective("good", judge)]) as scorer:
            result = scorer.score(["p"] * 4, ["abc", "bad", "off", "a $5 {x}"])
    assert result.values[:, 0].tolist() == [4.0, 0.0, 0.0, 9.0]
    assert result.valid[:, 0].tolist() == [True, False, False, True]
    assert result.metrics["judge/unanswered"] == 0.25
    assert result.metrics["judge/unread"] == pytest.approx(1 / 3)


def test_the_template_is_filled_in_with_columns_chats_and_the_scale():
    template = "$prompt|$completion|$answer|$low-$high|$$"
    with serving(lambda text: "<score>0</score>") as server:
        judge = Judge(Endpoint(server.url, "tiny"), template, scale=(0, 0.5), system="be fair", name="fair")
        assert judge.columns == ("answer",)
        chat, answer = [{"role": "user", "content": "$prompt"}], [{"role": "assistant", "content": "yes"}]
        with Scorer([Objective("good", judge)]) as scorer:
            assert "asks for the column `answer`" in scorer.problems(["prompt"])[0]
            result = scorer.score([chat], [answer], None, {"answer": [3]})
    assert server.bodies[0]["messages"] == [
        {"role": "system", "content": "be fair"},
        {"role": "user", "content": "user: $prompt|yes|3|0-0.5|$"},
    ]
    assert result.metrics["fair/unread"] == 0.0 and result.values.tolist() == [[0.0]]


def test_a_cached_judge_asks_once_and_again_where_it_got_no_answer(tmp_path):
    down = [True]
    with serving(lambda text: (500, "", {}) if down[0] else length_of_response(text)) as server:
        judge = Cached(Judge(Endpoint(server.url, "tiny", retries=0)), tmp_path / "said.sqlite")
        arguments = {"prompts": ["p", "p"], "completions": ["a", "a"]}
        assert judge(**arguments) == [None, None] and len(server.bodies) == 1
        down[0] = False
        assert judge(**arguments) == [2.0, 2.0] and len(server.bodies) == 2
        again = Cached(Judge(Endpoint(server.url, "tiny", retries=0)), tmp_path / "said.sqlite")
        assert again(**arguments) == [2.0, 2.0] and len(server.bodies) == 2
        other = Cached(Judge(Endpoint(server.url, "larger", retries=0)), tmp_path / "said.sqlite")
        assert other(**arguments) == [2.0, 2.0] and len(server.bodies) == 3


def test_a_judge_that_takes_too_long_leaves_the_batch_missing():
    with serving(lambda text: 0.4) as server:
        judge = Judge(Endpoint(server.url, "tiny", retries=5))
        started = time.monotonic()
        with Scorer([Objective("good", judge, timeout=0.1)]) as scorer:
            result = scorer.score(["p"], ["a"])
        assert not result.valid.any() and result.metrics["timeouts/good"] == 1
        assert time.monotonic() - started < 0.4
        time.sleep(0.5)  # no further try after the scorer gave up
        assert len(server.bodies) == 1


def test_wrong_settings_are_told():
    server = Endpoint("http://localhost/v1", "tiny")
    with pytest.raises(
        ConfigError, match=r"`template` does not name \$completion; it must hold \$prompt, \$completion"
    ):
        Judge(server, "Rate $prompt")
    with pytest.raises(ConfigError, match=r"`template` holds a lone \$"):
        Judge(server, "$prompt $completion costs $ 5")
    with pytest.raises(ConfigError, match=r"`scale` must be \(lowest, highest\), not \(5, 1\)"):
        Judge(server, scale=(5, 1))
    with pytest.raises(ConfigError, match="`model` of a judge must be an Endpoint, a LocalModel or a path, not 3"):
        Judge(3)
    assert Judge("some/path").model == LocalModel("some/path")
    assert spec(Judge(server))["model"]["part"] == "endpoint"
    with serving(lambda text: (404, "no such model", {})) as down:
        with Scorer([Objective("good", Judge(Endpoint(down.url, "tiny")))]) as scorer:
            with pytest.raises(RewardError, match=r"objective `good`: the reward raised RewardError: .* status 404"):
                scorer.score(["p"], ["a"])
