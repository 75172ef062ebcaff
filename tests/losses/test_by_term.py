from types import SimpleNamespace

import torch
from torch.testing import assert_close

from moalign.losses import ByTerm, PolicyLoss, nll, sequence_mean, token_mean
from moalign.parts import bind, put
from moalign.policies import Tabular
from moalign.records import Couples, Credit, Outputs, Rows
from moalign.training.losses import TotalLoss


def first(rows: Rows, credit: Credit) -> torch.Tensor:
    return (rows.index == 0).float()[:, None] * rows.train_mask


def total(outputs: Outputs, credit: Credit, terms, weights, rows: Rows) -> torch.Tensor:
    policy = Tabular(members=["a", "b"], prompts=2, tokens=4, vocabulary=2)
    policy.forward = lambda *args, **at: outputs  # type: ignore[method-assign]
    ones = torch.ones(2, 1)
    return TotalLoss(policy, terms, credit, weights, ones, frozenset(), Couples.ROWS)(rows)


def test_by_hand(case) -> None:
    outputs, rows, credit = case()
    one = Credit(credit.advantages[..., :1])
    # the rest: token means; `imitate`: the sum over the first row
    reduce = ByTerm(terms={"imitate": first})
    weights = reduce(rows, one)
    assert_close(weights[""], token_mean(rows, one))
    assert_close(weights["imitate"], first(rows, one))
    terms = {"policy": PolicyLoss(), "imitate": bind(nll), "more": bind(nll, coefficient=0.5)}
    got = total(outputs, one, terms, weights, rows)
    rest = {"policy": terms["policy"], "more": terms["more"]}
    expected = total(outputs, one, rest, token_mean(rows, one), rows)
    expected[0] -= outputs.logprobs[0].sum()  # row 0 is of member 0, all its four tokens are trained
    assert_close(got, expected)


def test_nan_where_a_term_does_not_look_does_no_harm(case) -> None:
    outputs, rows, credit = case()
    one = Credit(credit.advantages[..., :1])
    hole = lambda outputs, rows, credit: torch.where(rows.index[:, None, None] == 0, 1.0, torch.nan).expand(6, 4, 1)  # noqa: E731
    got = total(outputs, one, {"hole": hole}, ByTerm(terms={"hole": first})(rows, one), rows)
    assert_close(got, torch.tensor([[4.0], [0.0]]))


def test_a_reduction_needs_its_term() -> None:
    reduce = ByTerm(terms={"imitate": first}, rest="sequence_mean")
    assert reduce.rest == bind(sequence_mean)
    assert reduce.problems(SimpleNamespace(losses={"imitate": bind(nll)})) == []
    assert "`imitate`" in reduce.problems(SimpleNamespace(losses={"policy": PolicyLoss()}))[0]
    assert put(reduce, "rest", "token_mean").rest == bind(token_mean)
