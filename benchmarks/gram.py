"""Mixing m gradients by their inner products against TorchJD: one model's, and a whole population's in one call.

python -m benchmarks.gram
"""

import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.harness import Claim, Different, parser, quiet, report, seconds
from moalign.optimizers import gradients as mixers

Mix = Callable[[Tensor], Tensor]  # gradients [channel parameter] to a step [parameter]
MEMBERS, MEMBER_LENGTH = 8, 100_000
TOLERANCE = 1e-4
OURS = {
    "aligned-mtl": mixers.aligned_mtl,
    "cagrad": mixers.cagrad,
    "config": mixers.config,
    "fairgrad": mixers.fairgrad,
    "imtl-g": mixers.imtl_g,
    "nash-mtl": mixers.nash_mtl,
    "pcgrad": mixers.pcgrad,
    "upgrad": mixers.upgrad,
}


def main() -> None:
    """Time every mixer that both have, after checking that the steps are the same."""
    made = parser(
        "gram",
        "Steps from m gradients against TorchJD's, methods without their solver left out.",
        "  OMP_NUM_THREADS=1 python -m benchmarks.gram --lengths 10000 --repeats 20",
    )
    made.add_argument("--channels", type=int, nargs="+", default=[2, 4, 8], help="gradients (default: 2 4 8)")
    made.add_argument(
        "--lengths", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7], help="parameters (default: 1e4 .. 1e7)"
    )
    made.add_argument("--repeats", type=int, default=20, help="of each, in turns (default: 20)")
    options = made.parse_args()
    quiet()
    claims = []
    for channels in options.channels:
        for name, rival, factor in rivals(channels):
            for length in options.lengths:
                claims.append(one(name, rival, factor, channels, length, options.repeats))
            claims.append(population(name, rival, factor, channels, options.repeats))
    report(claims, options.json, record="gram" if options.record else None)


def rivals(channels: int) -> Iterator[tuple[str, Mix, float]]:
    """Yield our name, TorchJD's aggregator and by how much its step is longer by definition.

    Not compared: MGDA, whose Frank-Wolfe iterations stop at a rougher answer; PCGrad of more than two gradients, and
    GradVac, which draw an order.
    """
    from torchjd import aggregation

    mean, total = 1.0, float(channels)
    known: list[tuple[str, Callable[[], Mix], float]] = [
        ("aligned-mtl", aggregation.AlignedMTL, mean),
        ("cagrad", lambda: aggregation.CAGrad(c=0.5, norm_eps=0.0), mean),
        ("config", aggregation.ConFIG, mean),
        ("fairgrad", lambda: aggregation.FairGrad(alpha=2.0), mean),
        ("imtl-g", aggregation.IMTLG, mean),
        ("nash-mtl", lambda: fresh_nash(aggregation.NashMTL, channels), mean),
        ("upgrad", aggregation.UPGrad, mean),
        *([("pcgrad", aggregation.PCGrad, total)] if channels == 2 else []),
    ]
    for name, make, factor in known:
        try:
            yield name, make(), factor
        except ImportError as error:
            print(f"{name}: {str(error).splitlines()[0]}")


def fresh_nash(make: Callable[..., Mix], channels: int) -> Mix:
    """Return TorchJD's Nash-MTL without its memory of earlier gradients, and without clipping."""
    mix = make(n_tasks=channels, max_norm=0.0)

    def step(gradients: Tensor) -> Tensor:
        mix.reset()  # pyright: ignore[reportFunctionMemberAccess]
        return mix(gradients)

    return step


def one(name: str, rival: Mix, factor: float, channels: int, length: int, repeats: int) -> Claim:
    """Return the median times from one model's gradients to its step."""
    g = gradients(channels, length)
    check(name, mixed(name, g), rival(g) / factor)
    ours, theirs = in_turns(lambda: mixed(name, g), lambda: rival(g), repeats)
    return Claim(f"{name}, {channels} x {length:,}", ours, theirs, "ms", repeats)


def population(name: str, rival: Mix, factor: float, channels: int, repeats: int) -> Claim:
    """Return the median times for all members: ours in one call, TorchJD's one after the other."""
    g = gradients(MEMBERS, channels, MEMBER_LENGTH)
    check(name, mixed(name, g), torch.stack([rival(member) for member in g]) / factor)
    ours, theirs = in_turns(lambda: mixed(name, g), lambda: [rival(member) for member in g], repeats)
    return Claim(f"{name}, {MEMBERS} members of {channels} x {MEMBER_LENGTH:,}", ours, theirs, "ms", repeats)


def gradients(*shape: int) -> Tensor:
    """Return random gradients of which the first conflicts with the others."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    g[..., 0, :] = g[..., 0, :] - 0.5 * g[..., 1:, :].mean(dim=-2)
    return g.to(device)


def mixed(name: str, g: Tensor) -> Tensor:
    """Return our step from gradients ``[*member channel parameter]`` and equal preferences."""
    wish = torch.full(g.shape[:-1], 1 / g.shape[-2], device=g.device)
    weights = OURS[name](g @ g.mT, wish)
    return (weights.unsqueeze(-2) @ g).squeeze(-2)


def check(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Raise `Different` unless the steps differ by less than `TOLERANCE` of their length."""
    off = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)
    if not bool((off <= TOLERANCE).all()):
        raise Different(f"{name}: the steps differ by {float(off.max()):.2g} of their length.")


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median milliseconds of two pieces of work, done in turns so that both see the same machine."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    first, second = (1000 * statistics.median(column) for column in zip(*times))
    return first, second


if __name__ == "__main__":
    main()
