import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline, batch_standardize, to_std, token_whiten


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1.0, 1.0, 1.0], [0.6016, 0.6016, 0.2792, -1.4824]), ([0.5, 0.3, 0.2], [0.6181, -0.1656, 0.8888, -1.3413])],
)
def test_golden_gdpo(make_rows, golden, weights, expected) -> None:
    pipeline = CreditPipeline(collapse="at_advantage", rescale="batch_standardize")
    credit, _ = pipeline(make_rows(golden), torch.tensor(weights).view(1, 1, 1, 3), torch.ones(1), pipeline.init(1, 3))
    assert_close(credit.advantages[:, 0, 0], torch.tensor(expected), atol=6e-5, rtol=0)


def test_batch_standardize_value() -> None:
    # 1 2 3 without the masked 99: mean 2, std 1
    advantages = torch.tensor([1.0, 2.0, 3.0, 99.0]).view(1, 2, 2, 1)
    mask = torch.tensor([True, True, True, False]).view(1, 2, 2)
    assert_close(
        batch_standardize(advantages, mask, torch.ones(1, 2, 2), eps=0.0).flatten(), torch.tensor([-1.0, 0.0, 1.0, 0.0])
    )


def test_to_std_reaches_its_target() -> None:
    generator = torch.Generator().manual_seed(0)
    advantages = torch.randn(3, 4, 5, 2, generator=generator) * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1, 1)
    mask = torch.rand(3, 4, 5, generator=generator) < 0.7
    scaled = to_std(advantages, mask, torch.ones(3, 4, 5), target=0.6)
    for m in range(3):
        assert_close(scaled[m][mask[m]].std(), torch.tensor(0.6))
        assert_close(scaled[m] / advantages[m], (scaled[m] / advantages[m])[0, 0, 0].expand(4, 5, 2))  # one factor


def test_to_std_leaves_silence_alone() -> None:
    silent = torch.zeros(1, 2, 3, 1)
    noise = torch.full_like(silent, 1e-8)
    noise[0, 0, 0] = -1e-8  # what is left when two z-scores cancel
    mask, tokens = torch.ones(1, 2, 3, dtype=torch.bool), torch.ones(1, 2, 3)
    assert_close(to_std(silent, mask, tokens), silent, rtol=0, atol=0)
    assert_close(to_std(noise, mask, tokens), noise, rtol=0, atol=0)
    assert_close(batch_standardize(silent, mask, tokens), silent, rtol=0, atol=0)
    assert_close(batch_standardize(silent, mask, tokens, eps=0.0), silent, rtol=0, atol=0)
    assert_close(token_whiten(silent, mask, tokens, eps=0.0), silent, rtol=0, atol=0)


def test_token_whiten_value() -> None:
    # 1 three times, 0 once: mean .75, variance (3 * .0625 + .5625) / 3 = .25, root .5; the masked row has no tokens
    advantages = torch.tensor([1.0, 0.0, 99.0, 99.0]).view(1, 2, 2, 1)
    mask = torch.tensor([True, True, False, False]).view(1, 2, 2)
    tokens = torch.tensor([3.0, 1.0, 5.0, 0.0]).view(1, 2, 2)
    got = token_whiten(advantages, mask, tokens, eps=0.0)
    assert_close(got.flatten(), torch.tensor([0.5, -1.5, 0.0, 0.0]))


def test_token_whiten_is_batch_standardize_of_the_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    advantages = torch.randn(2, 3, 4, 1, generator=generator)
    tokens = torch.randint(0, 6, (2, 3, 4), generator=generator)
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    got = token_whiten(advantages, mask, tokens.float(), eps=0.0)
    for m in range(2):
        each = advantages[m].flatten().repeat_interleave(tokens[m].flatten())
        assert_close(got[m].flatten(), (advantages[m].flatten() - each.mean()) / each.std())
