"""Sampling: the same tokens in any company, the same as `generate`, the same log-probabilities as scoring."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.policies.drawing import draw, uniforms
from moalign.policies.engines import generate
from moalign.records import START, Need, Requests, Stream

STREAM = Stream(0, 1, "rollout")


def test_tokens_do_not_depend_on_company(lora, ask) -> None:
    policy = lora("a", "b", "c")
    together = policy.sample(ask(0, 1, 2), stream=STREAM)
    assert len(together.completion_mask.sum(1).unique()) > 2  # rows end at different times
    alone = policy.sample(ask(1), stream=STREAM)
    assert torch.equal(alone.tokens, together.tokens[6:12])
    assert_close(alone.logprobs, together.logprobs[6:12], atol=1e-5, rtol=0)
    policy.gather([2, 0, 1], ["c", "a", "b"])
    reordered = policy.sample(ask(0, 1, 2), stream=STREAM)
    assert torch.equal(reordered.tokens, torch.cat([together.tokens[12:], together.tokens[:12]]))


def test_member_equals_policy_of_one(lora, ask) -> None:
    policy = lora("a", "b", "c")
    together = policy.sample(ask(0, 1, 2), stream=STREAM)
    single = lora("x")
    single.gather([0], ["b"])
    single.restore(policy.snapshot(["b"]))
    alone = single.sample(ask(0), stream=STREAM)
    assert torch.equal(alone.tokens, together.tokens[6:12])
    assert_close(alone.logprobs, together.logprobs[6:12], atol=1e-5, rtol=0)


def test_unequal_requests(lora, ask) -> None:
    policy = lora("a", "b", "c")
    both = ask(0, 1, 2)
    some = torch.tensor([1, 4, 5])  # one prompt for a, none for b, two for c
    fields = {n: getattr(both, n)[some] for n in ("member", "prompt_tokens", "prompt_mask", "temperature")}
    samples = policy.sample(replace(both, **fields), stream=STREAM)
    full = policy.sample(ask(2), stream=STREAM)
    assert torch.equal(samples.tokens[3:], full.tokens)
    assert samples.tokens.shape == (9, 9)
    assert bool(samples.completion_mask[:, 0].all())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_behaviour_logprobs_are_forward_logprobs(lora, ask, rows_of, temperature) -> None:
    policy = lora("a", "b")
    requests = ask(0, 1, temperature=temperature)
    samples = policy.sample(requests, stream=STREAM)
    rows = rows_of(requests, samples, 2)
    scored = policy.forward(rows, frozenset({Need.LOGPROBS})).logprobs
    assert_close(scored, samples.logprobs, atol=1e-5, rtol=0)


def test_greedy_is_generate(lora, ask, model) -> None:
    policy = lora("a", "b")
    requests = ask(0, 1, n=1, temperature=0.0)
    samples = policy.sample(requests, stream=STREAM, at=START)
    expected = model.generate(
        requests.prompt_tokens,
        attention_mask=requests.prompt_mask.long(),
        do_sample=False,
        max_new_tokens=9,
        min_length=0,
    )[:, 4:]
    assert torch.equal(samples.tokens[:, : expected.shape[1]], expected)
    assert not samples.completion_mask[:, expected.shape[1] :].any()


def test_greedy_ends_and_is_cut_off(lora, ask) -> None:
    policy = lora("a")
    samples = policy.sample(ask(0, limit=30), stream=STREAM)
    ends = (samples.tokens == 1) & samples.completion_mask
    assert torch.equal(ends.any(1), samples.finished)
    assert samples.finished.any()
    lengths = samples.completion_mask.sum(1)
    assert torch.equal(ends.long().argmax(1)[samples.finished] + 1, lengths[samples.finished])
    assert bool((lengths[~samples.finished] == 30).all())
    assert bool((samples.tokens[~samples.completion_mask] == 0).all())
    assert bool((samples.logprobs[~samples.completion_mask] == 0).all())


def test_dropping_finished_rows_changes_nothing(lora, ask) -> None:
    policy = lora("a", "b", "c")
    requests = ask(0, 1, 2, n=6, limit=20)

    def sampled(drop: bool):
        return generate(
            policy.model,
            requests,
            uniforms(requests, policy.members, STREAM),
            acting=lambda members: policy.acting(members, None),
            pad_id=0,
            eos_ids=(1,),
            drop=drop,
        )

    fast, slow = sampled(True), sampled(False)
    assert torch.equal(fast.tokens, slow.tokens)
    assert torch.equal(fast.completion_mask, slow.completion_mask)
    assert torch.equal(fast.finished, slow.finished)
    assert_close(fast.logprobs, slow.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 7, 12])
def test_waves_change_nothing(lora, ask, rows) -> None:
    expected = lora("a", "b", "c").sample(ask(0, 1, 2), stream=STREAM)
    samples = lora("a", "b", "c", sample_rows=rows).sample(ask(0, 1, 2), stream=STREAM)
    assert torch.equal(samples.tokens, expected.tokens)
    assert torch.equal(samples.finished, expected.finished)
    assert_close(samples.logprobs, expected.logprobs, atol=1e-5, rtol=0)


def test_at_a_snapshot(lora, ask) -> None:
    policy = lora("a", "b")
    before = policy.sample(ask(0, 1), stream=STREAM)
    snapshot = policy.snapshot()
    for stacked in policy.parameters().values():
        stacked.tensor.data.zero_()
    assert not torch.equal(policy.sample(ask(0, 1), stream=STREAM).tokens, before.tokens)
    assert torch.equal(policy.sample(ask(0, 1), stream=STREAM, at=snapshot).tokens, before.tokens)


def test_draw_follows_the_distribution() -> None:
    # p = (.1, .0, .6, .3): cumulative .1 .1 .7 1; the token of probability zero is never drawn
    logits = torch.tensor([0.1, 0.0, 0.6, 0.3]).log().expand(1000, 4)
    uniform = (torch.arange(1000) + 0.5) / 1000
    tokens, logprobs = draw(logits, torch.ones(1000), uniform)
    assert torch.bincount(tokens, minlength=4).tolist() == [100, 0, 600, 300]
    assert_close(logprobs[:2], torch.tensor([0.1, 0.1]).log())
    # at temperature 1/2 the odds square: .01 .36 .09 of .46
    tokens, _ = draw(logits, torch.full((1000,), 0.5), uniform)
    assert torch.bincount(tokens, minlength=4).tolist() == [22, 0, 782, 196]


def test_uniforms_are_keyed_by_name(ask) -> None:
    requests: Requests = ask(0, 1)
    one = uniforms(requests, ["a", "b"], STREAM)
    other = uniforms(requests, ["b", "a"], STREAM)
    assert torch.equal(one[:6], other[6:])
    assert not torch.equal(one[:6], one[6:])
    assert torch.equal(one[6:], torch.rand(6, 9, generator=STREAM.generator("b")))
