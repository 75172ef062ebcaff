"""Rubrics: several criteria in one answer, and rubrics that problems bring along."""

import pytest

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.rewards import Endpoint, ProblemRubric, Rubric, Scorer
from moalign.rewards.rubric import scores_by_name
from tests.rewards.judging import serving

NAMES = {"clear": "Is it easy to follow?", "kind": "Is it friendly?"}


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ('So: {"clear": 4, "kind": 1.5}', {"clear": 4.0, "kind": 1.5}),
        ('```json\n{"kind": 5,\n "clear": 1}\n```\n', {"clear": 1.0, "kind": 5.0}),
        ('{"clear": 2} no, rather {"clear": 3}', {"clear": 3.0}),
        ('{"clear": 6, "kind": 2, "loud": 3}', {"kind": 2.0}),
        ('{"clear": true, "kind": "5"}', {}),
        ('{"clear": NaN, "kind": 3}', {"kind": 3.0}),
        ('<think>{"clear": 1}</think>', {}),
        ('{"clear": 4, "kind": 2} and that is that', {}),
        ('["clear", 4]', {}),
        ('{"clear": 4', {}),
        ("", {}),
    ],
)
def test_scores_by_name(answer, scores):
    assert scores_by_name(answer, NAMES, (1, 5)) == scores


def test_each_criterion_is_an_objective():
    def reply(text):
        assert "- clear: Is it easy to follow?\n- kind: Is it friendly?" in text
        assert text.endswith('{"clear": NUMBER, "kind": NUMBER}') and "from 1, the worst, to 5" in text
        return '{"kind": 2, "clear": 5}' if "both" in text else '{"kind": 2}'

    with serving(reply) as server:
        rubric = Rubric(Endpoint(server.url, "tiny"), NAMES)
        with Scorer([Objective("kind", rubric), Objective("clear", rubric)]) as scorer:
            result = scorer.score(["p", "p"], ["both", "one"])
    assert result.values.tolist() == [[2.0, 5.0], [2.0, 0.0]]
    assert result.valid.tolist() == [[True, True], [True, False]]
    assert result.metrics["rubric/unread"] == 0.5 and len(server.bodies) == 2  # one chat serves both
    with pytest.raises(ConfigError, match="`criteria` of a rubric is empty"):
        Rubric(Endpoint(server.url, "tiny"))


def test_a_problem_brings_its_own_rubric():
    def reply(text):
        assert "<rubric>\nuses induction\n</rubric>" in text and "from 0, nothing sound, to\n1" in text
        return "<score>0.25</score>" if "derivation" in text.split("<solution>")[1] else "<score>2</score>"

    with serving(reply) as server:
        judge = ProblemRubric(Endpoint(server.url, "tiny"))
        with Scorer([Objective("sound", judge)]) as scorer:
            assert scorer.problems(["prompt", "rubric"]) == [] and len(scorer.problems(["prompt"])) == 1
            result = scorer.score(["p"], ["so it is 4"], None, {"rubric": ["uses induction"]})
    assert result.values.tolist() == [[0.25]]
