"""A judge whose rubric evolves."""

import re
from dataclasses import dataclass

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.rewards import Endpoint, EvolvingJudge, Judge, Scorer, TrainerState
from moalign.rewards.evolving import BY_RUBRIC
from tests.rewards.judging import serving


def scored_by_rubric(text):
    """A junior judge that can be fooled by shouting until the rubric forbids it."""
    said, rubric = (re.search(rf"<{tag}>\n(.*?)\n</{tag}>", text, re.DOTALL) for tag in ("response", "rubric"))
    assert said and rubric
    return f"<score>{9 if '!' in said.group(1) and 'shout' not in rubric.group(1) else 3}</score>"


@dataclass
class Meta:
    """Finds a high score for shouting undeserved, and writes what to do about it."""

    asked: list[str]

    def __call__(self, text):
        self.asked.append(re.split(r"[.,:]", text)[0])
        if "one word" in text:
            return "Bad." if "!" in text and "score: 9" in text else "good"
        if "Then write" in text:
            return "It rewards noise. <rubric>clear, no shouting</rubric>"
        return "<rubric>\nclear; no shouting; merged\n</rubric>"


def play(judge, steps, completions=("well said", "wow!", "hey!")):
    values = {}
    with Scorer([Objective("good", judge)]) as scorer:
        for step in steps:
            result = scorer.score(["p"] * len(completions), completions, trainer_state=TrainerState(step, 9))
            values[step] = (result.values[:, 0].tolist(), result.metrics["evolving-judge/rubric"])
    return values


def test_the_rubric_is_rewritten_where_scores_are_not_deserved(tmp_path):
    meta = Meta([])
    with serving(scored_by_rubric) as junior, serving(meta) as senior:
        judge = Judge(Endpoint(junior.url, "junior"), BY_RUBRIC)
        options = {"every": 2, "samples": 6, "meta": Endpoint(senior.url, "senior")}
        evolving = EvolvingJudge(judge, "clear", tmp_path / "rubrics", **options)
        first = play(evolving, range(4))
        # steps 0 and 1 by the first rubric; the rewriting at the end of step 1 holds from step 2
        assert first[0] == first[1] == ([3.0, 9.0, 9.0], 1.0)
        assert first[2] == first[3] == ([3.0, 3.0, 3.0], 2.0)
        # at step 1, six rollouts, of which four shout: four refinements, one merged rubric; at step 3, all is deserved
        verdicts = [
            text for text in meta.asked if text.startswith("A junior judge scored the response below by the rub")
        ]
        assert len(meta.asked) - len(verdicts) == 1 and len(verdicts) == 6 + 4 + 6
        assert "clear; no shouting; merged" in junior.bodies[-1]["messages"][0]["content"]
        # a run that resumes at step 1 scores it as before, and asks the meta model nothing it has answered
        known = len(meta.asked)
        again = EvolvingJudge(judge, "clear", tmp_path / "rubrics", **options)
        assert play(again, range(1, 4)) == {step: first[step] for step in range(1, 4)} and len(meta.asked) == known
        with pytest.raises(RewardError, match="holds the rubrics of another judge"):
            play(EvolvingJudge(judge, "short", tmp_path / "rubrics", **options), [0])


def test_what_cannot_be_read_changes_nothing(tmp_path):
    with serving(scored_by_rubric) as junior, serving(lambda text: "bad" if "one word" in text else "hm") as senior:
        judge = Judge(Endpoint(junior.url, "junior"), BY_RUBRIC)
        evolving = EvolvingJudge(judge, "clear", tmp_path / "r", every=1, meta=Endpoint(senior.url, "senior"))
        assert [values for values, _ in play(evolving, range(2), ("wow!",)).values()] == [[9.0], [9.0]]


def test_wrong_settings_are_told(tmp_path):
    server = Endpoint("http://localhost/v1", "tiny")
    with pytest.raises(ConfigError, match=r"`template` does not name \$rubric"):
        EvolvingJudge(Judge(server), "clear", tmp_path / "r")
    with pytest.raises(ConfigError, match="`every` and `samples` must be at least 1, not 0 and 20"):
        EvolvingJudge(Judge(server, BY_RUBRIC), "clear", tmp_path / "r", every=0)
