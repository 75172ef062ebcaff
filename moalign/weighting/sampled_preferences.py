"""Weights drawn anew at every step, for each member or for each of its prompts."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.records import Rows, Setting, Signals, State, Stream
from moalign.weighting.controller import Controller, Weights, on_simplex

PER = ("step", "prompt")


@register(
    "controller",
    "sampled-preferences",
    paper="jain2023mogfn",
    test="tests/weighting/test_sampled_preferences.py::test_draws_have_the_moments_of_a_dirichlet",
)
@dataclass(frozen=True)
class SampledPreferences(Controller):
    r"""Draw weights from a Dirichlet distribution, :math:`w \sim \mathrm{Dir}(\alpha m b)`, at every step.

    :math:`\alpha` ``alpha``, :math:`m` the number of objectives, :math:`b` equal parts or, with ``centred``, the
    member's preference, which then is the mean of what is drawn: 1 is uniform on the simplex, less draws near the
    corners, more near the mean. ``per="prompt"`` draws one for each of a member's groups.

    Draws are keyed by (``seed``, step, objective, the member's preference): neither order nor neighbours nor a restart
    changes them, members of equal preference are told apart by their order, and a clone draws what its parent does.
    Linear in each draw; over all draws a family of preferences, as in Jain et al. 2023, arXiv:2210.12765.
    """

    alpha: float = 1.0
    per: str = "step"
    centred: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"`alpha` must be positive, got {self.alpha}; 1 is uniform.")
        if self.per not in PER:
            raise ConfigError(f"`per` must be {' or '.join(map(repr, PER))}, got {self.per!r}.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        preference = on_simplex(preferences, setting)
        base = preference if self.centred else torch.full_like(preference, 1 / len(setting.names))
        return {
            "concentration": self.alpha * len(setting.names) * base,
            "key": _keys(preference, setting.names),
            "step": torch.zeros(len(preference), dtype=torch.long),
        }

    def weigh(self, state: State, rows: Rows) -> Weights:
        members, objectives = state["key"].shape
        count = rows.slots()[1] if self.per == "prompt" else 1
        logs = np.empty((members, count, objectives))
        for m, step in enumerate(state["step"].tolist()):
            for k in range(objectives):
                concentration = float(state["concentration"][m, k])
                logs[m, :, k] = _log_gamma(concentration, count, self.seed, step, int(state["key"][m, k]))
        weights = torch.from_numpy(logs).softmax(dim=2).to(state["concentration"])
        return weights[:, :, None, :], torch.ones(members)

    def observe(self, state: State, signals: Signals) -> State:
        return {**state, "step": torch.full_like(state["step"], signals.step + 1)}


def _log_gamma(concentration: float, count: int, seed: int, step: int, key: int) -> np.ndarray:
    """Return logarithms of Gamma draws, of which a softmax is a Dirichlet draw; the first draws whatever the count."""
    if concentration <= 0:
        return np.full(count, -np.inf)
    stream = Stream(seed, step, "part")
    shape, power = (np.random.default_rng(stream.generator(f"{key}/{what}").initial_seed()) for what in ("a", "b"))
    # Gamma(a) is Gamma(a + 1) times U^(1/a): in logarithms a small concentration does not underflow
    larger = np.array([shape.standard_gamma(concentration + 1) for _ in range(count)])
    return np.log(larger) + np.log1p(-power.random(count)) / concentration


def _keys(preference: Float[Tensor, "member objective"], names: tuple[str, ...]) -> Tensor:
    """Return a number for each member and objective that no order of either changes."""
    seen: dict[str, int] = {}
    keys = []
    for wish in preference.tolist():
        who = "|".join(f"{name}={value:.6f}" for name, value in sorted(zip(names, wish)))
        seen[who] = seen.get(who, 0) + 1
        texts = [f"{who}|{seen[who]}|{name}" for name in names]
        keys.append([int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 for text in texts])
    return torch.tensor(keys)
