"""What every registered mixer keeps to, and what each declares: by name, so that a new one has to say."""

import pytest
import torch
from torch.testing import assert_close

import moalign.optimizers.gradients  # noqa: F401 - registers the mixers
from moalign.parts import named
from tests.optimizers.conftest import gains, gram_of, random_gradients

MIXERS = named("mixer")
ALL = pytest.mark.parametrize("name", sorted(MIXERS))

# all gradients s times as long: weights s to this power, and why
LENGTH = {
    "aligned-mtl": (0, "shortened to the least singular value, which is s times as large"),
    "cagrad": (0, "the ball's radius is a share of the mean's length"),
    "config": (0, "the step is as long as the projections on it together"),
    "fairgrad": (-4 / 3, "G w = w^(-1/2)"),
    "gradvac": (0, "only cosines count"),
    "imtl-g": (0, "weights sum to 1"),
    "linear": (0, "the preferences"),
    "min-norm": (0, "weights sum to 1"),
    "nash-mtl": (-1, "G w = 1 / w: the step has one length"),
    "paretoda": (0, "weights sum to 1"),
    "pcgrad": (0, "only cosines count"),
    "upgrad": (0, "projections are linear"),
}
# all preferences s times as large: weights s to this power; 0 where only their proportions, or zeros, count
PREFERENCES = dict.fromkeys(MIXERS, 0) | dict.fromkeys(
    ["aligned-mtl", "cagrad", "gradvac", "linear", "pcgrad", "upgrad"], 1
)
# no channel loses, if the gradients are linearly independent; those that only reduce conflict are not here
HARMLESS = {"config", "fairgrad", "min-norm", "nash-mtl", "upgrad"}
# one gradient s times as long: the step's direction stays
BLIND_TO_LENGTH = {"config", "nash-mtl"}


def wishes(batch: int, channels: int) -> torch.Tensor:
    return torch.rand((batch, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2


def cases(channels: int) -> dict[str, torch.Tensor]:
    """Return gradients that a mixer must live through: ``[member channel parameter]``."""
    g = random_gradients(1, channels, 12, seed=channels)
    first = torch.arange(channels) == 0
    lengths = torch.logspace(-6, 6, channels).double()[:, None]
    return {
        "random": g,
        "zero": torch.where(first[:, None], 0.0, g),
        "all zero": torch.zeros_like(g),
        "alike": g[:, :1].expand_as(g).clone(),
        "collinear": g[:, :1] * torch.linspace(-2, 3, channels).double()[:, None],
        "opposite": g[:, :1] * torch.where(first, -1.0, 1.0)[:, None],
        "dependent": g[:, :, :2].contiguous(),
        "short and long": g * lengths,
        "short": 1e-6 * g,
        "long": 1e6 * g,
    }


def test_every_mixer_declares() -> None:
    assert MIXERS.keys() == LENGTH.keys()
    assert HARMLESS | BLIND_TO_LENGTH <= MIXERS.keys()


@ALL
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_whatever_the_gradients(name: str, channels: int, dtype: torch.dtype) -> None:
    for kind, g in cases(channels).items():
        weights = MIXERS[name].part(gram_of(g.to(dtype)), wishes(1, channels).to(dtype))
        assert weights.isfinite().all(), kind
        assert weights.dtype == dtype and weights.shape == (1, channels)


@ALL
def test_eight_channels_with_lengths_from_a_millionth_to_a_million(name: str) -> None:
    gram = gram_of(cases(8)["short and long"])
    weights = MIXERS[name].part(gram, wishes(1, 8))
    assert weights.isfinite().all()
    if name in HARMLESS:
        length = gram.diagonal(dim1=-2, dim2=-1).sqrt()
        step = (weights * gains(weights, gram)).sum(-1, keepdim=True).sqrt()
        assert (gains(weights, gram) / length / step >= -1e-6).all()


@ALL
def test_order_of_channels_decides_nothing(name: str) -> None:
    gram, wish, turn = gram_of(random_gradients(4, 4, 9, seed=2)), wishes(4, 4), torch.tensor([2, 0, 3, 1])
    turned = MIXERS[name].part(gram[:, turn][:, :, turn], wish[:, turn])
    assert_close(turned, MIXERS[name].part(gram, wish)[:, turn], atol=1e-7, rtol=1e-7)


@ALL
def test_members_do_not_know_of_each_other(name: str) -> None:
    gram, wish = gram_of(random_gradients(4, 3, 9, seed=3)), wishes(4, 3)
    together = MIXERS[name].part(gram, wish)
    for member in range(4):
        assert_close(MIXERS[name].part(gram[member], wish[member]), together[member], atol=1e-12, rtol=1e-12)
    ill = gram.clone()
    ill[1, 0, 0] = torch.nan
    if name != "linear":
        assert MIXERS[name].part(ill, wish)[1].isnan().all()
    assert_close(MIXERS[name].part(ill, wish)[[0, 2, 3]], together[[0, 2, 3]], atol=1e-12, rtol=1e-12)
    stacked = MIXERS[name].part(gram.view(2, 2, 3, 3), wish.view(2, 2, 3))
    assert_close(stacked.view(4, 3), together, atol=1e-12, rtol=1e-12)


@ALL
def test_a_preference_of_zero_leaves_a_channel_out(name: str) -> None:
    gram, wish = gram_of(random_gradients(3, 3, 9, seed=4)), wishes(3, 3)
    wish[:, 1] = 0.0
    weights, kept = MIXERS[name].part(gram, wish), torch.tensor([0, 2])
    assert (weights[:, 1] == 0).all()
    assert_close(weights[:, kept], MIXERS[name].part(gram[:, kept][:, :, kept], wish[:, kept]), atol=1e-7, rtol=1e-7)
    assert (MIXERS[name].part(gram, torch.zeros_like(wish)) == 0).all()


@ALL
@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_declared_scaling(name: str, factor: float) -> None:
    gram, wish = gram_of(random_gradients(4, 4, 20, seed=5)), wishes(4, 4)
    plain = MIXERS[name].part(gram, wish)
    longer = MIXERS[name].part(factor**2 * gram, wish)
    assert_close(longer, plain * factor ** LENGTH[name][0], atol=0, rtol=1e-6)
    assert_close(MIXERS[name].part(gram, factor * wish), plain * factor ** PREFERENCES[name], atol=0, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(BLIND_TO_LENGTH))
def test_a_longer_gradient_has_no_more_say(name: str) -> None:
    g, wish = random_gradients(4, 3, 9, seed=6), wishes(4, 3)
    scaled = g * torch.tensor([1e-2, 1.0, 1e3]).double()[:, None]
    steps = [(MIXERS[name].part(gram_of(x), wish).unsqueeze(-2) @ x).squeeze(-2) for x in (g, scaled)]
    first, second = (step / step.norm(dim=-1, keepdim=True) for step in steps)
    assert_close(first, second, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(HARMLESS))
@pytest.mark.parametrize("channels", [2, 3, 8])
def test_no_channel_loses(name: str, channels: int) -> None:
    g = random_gradients(40, channels, 10, seed=channels) - 0.8 * random_gradients(40, 1, 10, seed=1)
    g[:, 0] = -g[:, 1:].mean(dim=1) + 0.3 * g[:, 0]  # conflict
    gram = gram_of(g)
    assert (gains(MIXERS[name].part(gram, wishes(40, channels)), gram) > -1e-7).all()
    assert (gains(wishes(40, channels), gram) < 0).any()  # where the weighted sum does harm
