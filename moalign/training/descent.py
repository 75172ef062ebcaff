"""The usual update: gradients of every channel, mixed per member, clipped per member, one step of the rule."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.optimizers.steps import apply, global_norm_clip
from moalign.parts import Knob, look_up_names, part, register
from moalign.records import Metrics, Need, Policy, Rows, State
from moalign.training.covariances import covariances
from moalign.training.losses import TotalLoss

Gradients = list[dict[str, Tensor]]  # one dict per channel


def as_member(value: Any, members: int, device: torch.device) -> Float[Tensor, "member"]:
    """Return a knob, resolved to a number or a ``[member]`` tensor, as one number per member."""
    return torch.as_tensor(value, dtype=torch.float32, device=device).expand(members)


@register("update", "descent", test="tests/training/test_descent.py::test_matches_torch_adamw_on_one_member")
@dataclass(frozen=True)
class Descent:
    """Differentiate each channel, mix the channels' gradients, clip, and step; `passes` times over the batch.

    `passes` is PPO's number of epochs (TRL: ``num_iterations``); `max_grad_norm` clips each member's gradient on its
    own (0: not at all). With one channel `mix` is the identity. A member whose loss or gradient is not finite is
    stopped: its parameters stay as they were, the other members go on.
    """

    rule: Any = part("rule", "adamw")
    mix: Any = part("mixer", "linear")
    passes: int = 1
    max_grad_norm: Knob = 1.0
    tells: ClassVar[frozenset[str]] = frozenset({"gram", "covariance"})  # of its metrics, what controllers may read

    def __post_init__(self) -> None:
        look_up_names(self)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.LOGPROBS})

    def init(self, policy: Policy) -> State:
        state = {name: _stack(self.rule.init, p.tensor, p.member_dim) for name, p in policy.parameters().items()}
        return {"rule": state, "active": torch.ones(len(policy.members), dtype=torch.bool, device=policy.device)}

    def __call__(self, policy: Policy, rows: Rows, losses: TotalLoss, state: State, now: Any) -> tuple[Metrics, State]:
        members = len(policy.members)
        lr = as_member(now.learning_rate, members, policy.device)
        norm = as_member(self.max_grad_norm, members, policy.device)
        metrics: Metrics = {}
        for _ in range(self.passes):
            total, gradients = differentiate(policy, rows, losses)
            gram, mixed = self._mixed(gradients, losses.preferences)
            clipped, norms = global_norm_clip(mixed, torch.where(norm > 0, norm, torch.inf))
            active = state["active"] & torch.isfinite(total).all(dim=1) & torch.isfinite(norms)
            state = {"rule": self._step(policy, clipped, state["rule"], lr, active), "active": active}
            metrics = {"loss": total.sum(dim=1), "grad_norm": norms, **conflicts(gram), **products(gram)}
        return {**metrics, **covariances(rows, losses.credit)}, state

    def _mixed(
        self, gradients: Gradients, preferences: Float[Tensor, "member channel"]
    ) -> tuple[Float[Tensor, "member channel channel"] | None, dict[str, Tensor]]:
        if len(gradients) == 1:
            return None, gradients[0]
        gram = gram_of(gradients)
        weights = self.mix(gram, preferences)
        names = gradients[0]
        return gram, {n: sum(_scale(g[n], weights[:, k]) for k, g in enumerate(gradients)) for n in names}  # type: ignore[misc]

    def _step(
        self,
        policy: Policy,
        gradients: dict[str, Tensor],
        state: State,
        lr: Float[Tensor, "member"],
        active: Bool[Tensor, "member"],
    ) -> State:
        new: State = {}
        with torch.no_grad():
            for name, stacked in policy.parameters().items():
                value, new[name] = apply(
                    self.rule, stacked.tensor.detach(), gradients[name], state[name], lr=lr, active=active
                )
                stacked.tensor.copy_(value)
        return new


def differentiate(policy: Policy, rows: Rows, losses: TotalLoss) -> tuple[Float[Tensor, "member channel"], Gradients]:
    """Return each member's loss per channel, and for each channel the gradient of all members' losses.

    Members own disjoint parameters, so one backward pass per channel serves them all.
    """
    parameters = {name: p.tensor for name, p in policy.parameters().items()}
    total: Tensor | None = None
    gradients: Gradients = []
    for micro in policy.split(rows, couples=losses.couples):
        loss = losses(micro)
        if total is None:
            total = torch.zeros_like(loss)
            gradients = [{n: torch.zeros_like(p) for n, p in parameters.items()} for _ in range(loss.shape[1])]
        for channel, sums in enumerate(gradients):
            last = channel == len(gradients) - 1
            found = torch.autograd.grad(
                loss[:, channel].sum(), list(parameters.values()), retain_graph=not last, allow_unused=True
            )
            for name, gradient in zip(parameters, found):
                if gradient is not None:
                    sums[name] += gradient
        total = total + loss.detach()
    if total is None:  # nothing was kept: there is no gradient
        total = torch.zeros_like(losses.preferences)
        gradients = [{n: torch.zeros_like(p) for n, p in parameters.items()} for _ in range(total.shape[1])]
    total, *found = policy.summed([total, *(g for sums in gradients for g in sums.values())])
    each = iter(found)
    return total, [{name: next(each) for name in parameters} for _ in gradients]


def gram_of(gradients: Gradients) -> Float[Tensor, "member channel channel"]:
    """Return the inner products of the channels' gradients within each member."""
    blocks = []
    for name in gradients[0]:
        stacked = torch.stack([g[name].flatten(1) for g in gradients], dim=1)  # member channel everything
        blocks.append(stacked @ stacked.mT)
    return torch.stack(blocks).sum(dim=0)


def conflicts(gram: Float[Tensor, "member channel channel"] | None) -> Metrics:
    """Return the cosine between every two channels' gradients: ``conflict/0__1``; negative means they disagree."""
    if gram is None:
        return {}
    norm = gram.diagonal(dim1=1, dim2=2).clamp(min=1e-20).sqrt()
    cosine = gram / (norm[:, :, None] * norm[:, None, :])
    pairs = [(i, j) for i in range(gram.shape[1]) for j in range(i + 1, gram.shape[1])]
    return {f"conflict/{i}__{j}": cosine[:, i, j] for i, j in pairs}


def products(gram: Float[Tensor, "member channel channel"] | None) -> Metrics:
    """Return the inner products of the channels' gradients: ``gram/0__1``, and ``gram/0__0`` the square of a length."""
    if gram is None:
        return {}
    return {f"gram/{i}__{j}": gram[:, i, j] for i in range(gram.shape[1]) for j in range(i, gram.shape[1])}


def _scale(gradient: Tensor, weight: Float[Tensor, "member"]) -> Tensor:
    return gradient * weight.reshape(-1, *[1] * (gradient.ndim - 1))


def _stack(init: Any, tensor: Tensor, member_dim: int | None) -> State:
    if member_dim is None:
        raise TypeError("a parameter shared by members cannot be stepped per member; give it a leading axis of 1.")
    return torch.func.vmap(init)(tensor.detach())
