"""From reward vectors to credit: normalize, estimate, collapse, rescale, gain, place."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._at_reward import AtReward
from moalign.credit._group_relative import group_relative
from moalign.credit._leave_one_out import leave_one_out
from moalign.credit._leave_one_out_scaled import leave_one_out_scaled
from moalign.credit._moments import moments, varies
from moalign.credit._normalizers import none
from moalign.credit._spread import spread
from moalign.errors import ConfigError
from moalign.parts import bind, fields, look_up_names, part, register
from moalign.records import Credit, Metrics, Rewards, Rows, State

Grid = Float[Tensor, "member prompt group objective"]
Mask = Bool[Tensor, "member prompt group objective"]
MISSING = ("skip", "mean", "zero")


@register("credit", "pipeline", test="tests/credit/test_pipeline.py::test_defaults_are_grpo")
@dataclass(frozen=True)
class CreditPipeline:
    """Credit as a composition of six parts; which `collapse` is bound decides where the vector becomes a number.

    Rewards are normalized by a fitted map that also moves the ideal; `collapse.before` may scalarize them; `estimate`
    turns them into advantages; `collapse.after` may add these up; `rescale` sets their size; the controller's gain
    multiplies what comes out, because any earlier factor would be divided out again; `place` hands it to tokens, and
    may weigh and add up objectives that were kept apart. Only kept rows count, and of them only valid rewards: the
    others have no advantage and no part in a mean. `missing` says what becomes of a kept row's missing rewards:
    ``"skip"`` is this; ``"mean"`` leaves them out of the means as well, but a row without any reward takes part in
    `rescale`, as one that did as well as the mean; ``"zero"`` takes them for rewards of 0, which bias the means.
    """

    normalize: Any = part("normalizer", bind(none))
    estimate: Any = part("estimator", bind(group_relative))
    collapse: Any = part("collapse", AtReward())
    rescale: Any = part("rescaler", None)
    place: Any = part("placement", bind(spread))
    missing: str = "skip"

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.missing not in MISSING:
            raise ConfigError(f"`missing` must be one of {', '.join(MISSING)}, got {self.missing!r}.")

    @property
    def scales_objectives(self) -> bool:
        """Whether each objective is divided by its own spread before the objectives are added up."""
        return self.normalize != bind(none) or (not isinstance(self.collapse, AtReward) and divides(self.estimate))

    def problems(self, recipe: Any) -> list[str]:
        """Groups of one have nothing to be compared with; and what the parts say themselves."""
        found = [
            said for value in fields(self).values() if hasattr(value, "problems") for said in value.problems(recipe)
        ]
        compares = getattr(self.estimate, "fn", None) in (group_relative, leave_one_out, leave_one_out_scaled)
        if compares and recipe.num_generations < 2 and not getattr(recipe.collect, "columns", ()):
            found.append("`num_generations` must be at least 2: the estimator compares a prompt's completions.")
        return found

    def init(self, members: int, objectives: int) -> State:
        """Return the state before the first step: the best reward seen so far, and what the normalizer remembers."""
        fitted = getattr(self.normalize, "init", None)
        return {
            "best": torch.full((members, objectives), -torch.inf),
            "normalize": {} if fitted is None else fitted(members, objectives),
        }

    def __call__(
        self,
        rows: Rows,
        weights: Float[Tensor, "member #prompt #group objective"],
        gain: Float[Tensor, "member"],
        state: State,
    ) -> tuple[Credit, State]:
        """Return the credit of every token; rows without rewards (offline pairs, supervised examples) get none."""
        _, prompts, group = rows.slots()
        each = rows.flat(weights.expand(rows.members, prompts, group, -1))
        if rows.rewards is None:
            nothing = torch.zeros((*rows.tokens.shape, 1), device=rows.tokens.device)
            return Credit(nothing, weights=each), state
        values, kept = rows.grid(rows.rewards.values)
        mask = (rows.grid(rows.rewards.valid.to(values))[0] > 0) & kept[..., None]
        counted = kept[..., None].expand_as(mask) if self.missing == "zero" else mask
        values = torch.where(mask, values, 0)
        affine, memory = self.normalize(values, counted, state.get("normalize", {}))
        best = torch.maximum(state["best"].to(values), torch.where(mask, values, -torch.inf).amax((1, 2)))
        ideal = affine(_ideal(rows.rewards, best)[:, None, None, :])
        normal = torch.where(counted, affine(values), 0)

        seen, valid = self.collapse.before(normal, counted, weights, ideal)
        raw = self.collapse.after(self.estimate(seen, valid), valid, weights)
        some = kept if self.missing == "mean" else valid.any(-1)
        tokens, _ = rows.grid(rows.train_mask.sum(1).to(values))
        sized = raw if self.rescale is None else self.rescale(raw, some, tokens)
        there = valid if valid.shape[-1] == sized.shape[-1] > 1 else some[..., None]
        advantages = torch.where(there, sized, 0) * gain.to(raw)[:, None, None, None]

        metrics = {
            **_spreads(advantages, some, rows.rewards.names),
            **_silent_groups(values, mask, weights.to(values)),
            "advantages/rescaled_by": _factor(raw, sized, some),
        }
        placed = self.place(rows, rows.flat(advantages), each)
        targets = rows.flat(normal)[:, None].expand(-1, rows.tokens.shape[1], -1)
        return Credit(placed, targets, each, metrics), {**state, "best": best, "normalize": memory}


def _ideal(rewards: Rewards, best: Float[Tensor, "member objective"]) -> Float[Tensor, "member objective"]:
    """Return the declared ideal, the best seen where none is declared, and 0 where nothing was seen."""
    declared = rewards.ideal.to(best)
    ideal = torch.where(declared.isnan(), best, declared)
    return torch.where(ideal.isfinite(), ideal, 0)


def divides(estimate: Any) -> bool:
    """Say whether an estimator divides rewards by their spread: twice the rewards are then not twice the advantages."""
    probe = torch.tensor([[[0.0, 1.0, 3.0], [0.0, 2.0, 7.0]]])[..., None]
    known = torch.ones_like(probe, dtype=torch.bool)
    return not torch.allclose(estimate(2 * probe, known), 2 * estimate(probe, known))


def _spreads(advantages: Float[Tensor, "member prompt group channel"], some: Tensor, names: tuple[str, ...]) -> Metrics:
    """Return mean and std of the advantages per member, by objective or, once collapsed, as ``combined``."""
    channels = names if advantages.shape[-1] == len(names) else ("combined",)
    _, mean, std = moments(advantages, some[..., None].expand_as(advantages), (1, 2))
    each = {"mean": mean[:, 0, 0], "std": std[:, 0, 0]}
    return {f"advantages/{name}/{key}": x[:, i] for i, name in enumerate(channels) for key, x in each.items()}


def _factor(before: Tensor, after: Tensor, some: Bool[Tensor, "member prompt group"]) -> Float[Tensor, "member"]:
    """Return by how much rescaling multiplied the spread of a member's advantages."""
    was, now = (moments(x, some[..., None].expand_as(x), (1, 2, 3))[2].flatten() for x in (before, after))
    return torch.where(was > 0, now / torch.where(was > 0, was, 1), 1)


def _silent_groups(values: Grid, mask: Mask, weights: Float[Tensor, "member #prompt #group objective"]) -> Metrics:
    """Return the share of groups that teach nothing: in the vector, and in the weighted sum of its entries.

    A group whose rewards trade off one for one varies as a vector and is silent as a sum: only the former is hopeless.
    """
    groups = mask.any(-1).any(-1)
    count = groups.sum(1).clamp(min=1)
    weighted = torch.where(mask, values * (weights != 0), 0)
    vector = varies(weighted, mask, (2,)).any(-1)
    total = varies((weighted * weights).sum(-1), mask.any(-1), (2,))
    return {
        "frac_vector_zero_std": (groups & ~vector).sum(1) / count,
        "frac_reward_zero_std": (groups & ~total).sum(1) / count,
    }
