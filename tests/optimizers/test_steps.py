"""Step rules: torch.optim as oracle for every member, and no member touches another."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.steps import SGD, AdamW, apply, global_norm_clip, init
from moalign.parts import build

RATES = torch.tensor([0.1, 0.01, 1e-3])
ALL = torch.tensor([True, True, True])


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ours(rule, start: torch.Tensor, grads: list[torch.Tensor], lr: torch.Tensor) -> torch.Tensor:
    param, state = start, init(rule, start)
    for grad in grads:
        param, state = apply(rule, param, grad, state, lr=lr, active=torch.ones(len(start), dtype=torch.bool))
    return param


def torchs(optimizer, start: torch.Tensor, grads: list[torch.Tensor], lr: torch.Tensor, **options) -> torch.Tensor:
    ends = []
    for member in range(len(start)):
        param = torch.nn.Parameter(start[member].clone())
        steps = optimizer([param], lr=float(lr[member]), **options)
        for grad in grads:
            param.grad = grad[member].clone()
            steps.step()
        ends.append(param.detach())
    return torch.stack(ends)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.95)])
def test_adamw_is_torchs_adamw_for_each_member(weight_decay: float, betas: tuple[float, float]) -> None:
    start, grads = randn(3, 4, 2, seed=0), [randn(3, 4, 2, seed=i) for i in range(1, 21)]
    rule = AdamW(beta1=betas[0], beta2=betas[1], weight_decay=weight_decay)
    expected = torchs(torch.optim.AdamW, start, grads, RATES, betas=betas, weight_decay=weight_decay)
    assert_close(ours(rule, start, grads, RATES), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs_sgd_for_each_member(momentum: float) -> None:
    start, grads = randn(3, 5, seed=0), [randn(3, 5, seed=i) for i in range(1, 21)]
    expected = torchs(torch.optim.SGD, start, grads, RATES, momentum=momentum)
    assert_close(ours(SGD(momentum=momentum), start, grads, RATES), expected, rtol=1e-5, atol=1e-6)


def test_adamw_first_step_is_lr_times_the_sign() -> None:
    # m / (1 - 0.9) = g, sqrt(v / (1 - 0.999)) = |g|
    start, grad = torch.zeros(2, 3), torch.tensor([[5.0, -0.1, 1e-3], [1.0, 1.0, -1.0]])
    moved = ours(AdamW(), start, [grad], torch.tensor([0.1, 0.2]))
    assert_close(moved, -torch.tensor([[0.1], [0.2]]) * grad.sign(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("rule", [AdamW(weight_decay=0.1), SGD(), SGD(momentum=0.9)], ids=str)
def test_a_stack_is_its_members_one_by_one(rule) -> None:
    start, grads = randn(3, 4, 2, seed=0), [randn(3, 4, 2, seed=i) for i in range(1, 4)]
    whole = ours(rule, start, grads, RATES)
    for i in range(3):  # a stack of one is also how what all members share is stepped
        alone = ours(rule, start[i : i + 1], [g[i : i + 1] for g in grads], RATES[i : i + 1])
        assert torch.equal(alone[0], whole[i])


@pytest.mark.parametrize("rule", [AdamW(weight_decay=0.1), SGD(), SGD(momentum=0.9)], ids=str)
def test_an_inactive_member_keeps_every_bit(rule) -> None:
    param = randn(3, 4, seed=0)
    param, state = apply(rule, param, randn(3, 4, seed=1), init(rule, param), lr=RATES, active=ALL)
    grad = randn(3, 4, seed=2)
    grad[1] = torch.nan
    active = torch.tensor([True, False, True])
    new, new_state = apply(rule, param, grad, state, lr=RATES, active=active)
    assert torch.equal(new[1], param[1])
    assert not torch.equal(new[0], param[0]) and new[[0, 2]].isfinite().all()
    for name in state:
        assert torch.equal(new_state[name][1], state[name][1])
        assert new_state[name].isfinite().all() and not torch.equal(new_state[name][0], state[name][0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_member_that_explodes_touches_no_other(bad: float) -> None:
    rule, param = AdamW(), randn(3, 4, seed=0)
    grads = {"a": randn(3, 4, seed=1), "b": randn(3, 2, 2, seed=2)}
    wild = {name: grad.clone() for name, grad in grads.items()}
    wild["a"][1, 0] = bad
    limit = torch.full((3,), 0.5)
    calm_clip, calm_norms = global_norm_clip(grads, limit)
    wild_clip, wild_norms = global_norm_clip(wild, limit)
    calm, _ = apply(rule, param, calm_clip["a"], init(rule, param), lr=RATES, active=ALL)
    moved, _ = apply(rule, param, wild_clip["a"], init(rule, param), lr=RATES, active=ALL)
    others = [0, 2]
    assert torch.equal(wild_norms[others], calm_norms[others]) and not wild_norms[1].isfinite()
    assert torch.equal(wild_clip["b"][others], calm_clip["b"][others])
    assert torch.equal(moved[others], calm[others])


def test_state_leads_with_member_and_is_made_of_tensors() -> None:
    state = init(AdamW(), torch.zeros(3, 4, 2))
    assert {name: tuple(x.shape) for name, x in state.items()} == {"step": (3,), "mean": (3, 4, 2), "square": (3, 4, 2)}
    assert all(x.is_contiguous() for x in state.values())
    assert init(SGD(), torch.zeros(3, 4)) == {}
    assert init(SGD(momentum=0.5), torch.zeros(3, 4))["velocity"].shape == (3, 4)


def test_half_precision_parameters_keep_single_precision_state() -> None:
    param = torch.ones(2, 3, dtype=torch.bfloat16)
    state = init(AdamW(), param)
    new, state = apply(AdamW(), param, torch.ones_like(param), state, lr=torch.tensor([0.1, 0.5]), active=ALL[:2])
    assert new.dtype == torch.bfloat16 and state["mean"].dtype == state["square"].dtype == torch.float32
    assert_close(new, torch.tensor([[0.9], [0.5]], dtype=torch.bfloat16).expand(2, 3))


def test_inputs_stay_as_they_are() -> None:
    param, grad = randn(3, 2, seed=0), randn(3, 2, seed=1)
    state, before = init(AdamW(), param), (param.clone(), grad.clone())
    apply(AdamW(), param, grad, state, lr=RATES, active=ALL)
    assert torch.equal(param, before[0]) and torch.equal(grad, before[1])
    assert state["step"].sum() == 0 and state["mean"].abs().sum() == 0


def test_clipping_is_torchs_for_each_member() -> None:
    grads = {"a": randn(4, 3, 2, seed=0), "b": randn(4, 5, seed=1) * 3, "c": randn(4, seed=2)}
    limit = torch.tensor([0.1, 1.0, 1e6, torch.inf])
    clipped, norms = global_norm_clip(grads, limit)
    for i in range(4):
        params = [torch.nn.Parameter(torch.zeros_like(g[i])) for g in grads.values()]
        for param, grad in zip(params, grads.values()):
            param.grad = grad[i].clone()
        norm = torch.nn.utils.clip_grad_norm_(params, float(limit[i]))
        assert_close(norms[i], norm)
        for param, name in zip(params, grads):
            assert_close(clipped[name][i], param.grad)
    for name, grad in grads.items():
        assert torch.equal(clipped[name][2:], grad[2:])  # below the limit: not a bit changes


def test_clipping_nothing() -> None:
    clipped, norms = global_norm_clip({}, torch.ones(2))
    assert clipped == {} and norms.tolist() == [0.0, 0.0]


def test_found_by_name_with_options() -> None:
    assert build("rule", "adamw", beta1=0.8) == AdamW(beta1=0.8)
    assert build("rule", "sgd", momentum=0.5) == SGD(momentum=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamW(beta1=1.0), r"`beta1` must be in \[0, 1\)"),
        (lambda: AdamW(eps=0.0), "`eps` must be positive"),
        (lambda: AdamW(weight_decay=-0.1), "`weight_decay` must not be negative"),
        (lambda: SGD(momentum=1.0), r"`momentum` must be in \[0, 1\)"),
        (
            lambda: apply(
                SGD(), torch.zeros(3, 2), torch.zeros(3, 2), {"velocity": torch.zeros(1, 2)}, lr=RATES, active=ALL
            ),
            r"must lead with one number of members, found \[1, 3\]",
        ),
        (lambda: global_norm_clip({"a": torch.zeros(1, 2)}, torch.ones(3)), r"`grads\['a'\]` leads with 1"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
