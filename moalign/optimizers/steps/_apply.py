"""Step rules over the member axis: no member's step depends on another member."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import vmap

from moalign.errors import ConfigError


@runtime_checkable
class Rule(Protocol):
    """A step rule for one member's tensor; every tensor of its state is stacked over members by `init`."""

    def init(self, param: Tensor) -> dict[str, Tensor]: ...

    def __call__(
        self, param: Tensor, grad: Tensor, state: dict[str, Tensor], *, lr: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]: ...


def init(rule: Rule, param: Float[Tensor, "member *shape"]) -> dict[str, Tensor]:
    """Return the state of `rule` for all members; every entry leads with ``member``.

    A tensor that all members share is a stack of one: pass ``param.unsqueeze(0)`` here and to `apply`.

    >>> from moalign.optimizers.steps import AdamW
    >>> {name: tuple(entry.shape) for name, entry in init(AdamW(), torch.zeros(3, 4, 2)).items()}
    {'step': (3,), 'mean': (3, 4, 2), 'square': (3, 4, 2)}
    """
    return {name: entry.contiguous() for name, entry in vmap(rule.init)(param.detach()).items()}


@torch.no_grad()
def apply(
    rule: Rule,
    param: Float[Tensor, "member *shape"],
    grad: Float[Tensor, "member *shape"],
    state: dict[str, Tensor],
    *,
    lr: Float[Tensor, "member"],
    active: Bool[Tensor, "member"],
) -> tuple[Float[Tensor, "member *shape"], dict[str, Tensor]]:
    """Take one step of `rule` for every member and return the new parameter and state; nothing is changed in place.

    A member that is not `active` keeps parameter and state bit for bit, its step count too, whatever its `grad`
    holds; a NaN in one member's gradient stays with that member. Raises `ConfigError` when nothing is stacked alike.

    >>> from moalign.optimizers.steps import SGD
    >>> lr, active = torch.tensor([0.1, 1.0, 1.0]), torch.tensor([True, True, False])
    >>> apply(SGD(), torch.zeros(3, 1), torch.tensor([[1.0], [1.0], [torch.nan]]), {}, lr=lr, active=active)[0]
    tensor([[-0.1000],
            [-1.0000],
            [ 0.0000]])
    """
    members = {len(x) for x in (param, grad, lr, active, *state.values())}
    if len(members) > 1:
        raise ConfigError(
            f"`param`, `grad`, `state`, `lr` and `active` must lead with one number of members, found "
            f"{sorted(members)}; give what all members share a leading axis of 1 and a step of its own."
        )
    rate = lr.to(torch.promote_types(param.dtype, torch.float32))
    delta, stepped = vmap(lambda p, g, s, r: rule(p, g, s, lr=r))(param, grad, state, rate)
    moved = (param + delta).to(param.dtype)  # added in the delta's precision, then rounded once
    return _keep(active, moved, param), {name: _keep(active, stepped[name], state[name]) for name in state}


def _keep(active: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(active.view(-1, *[1] * (old.ndim - 1)), new, old)


@torch.no_grad()
def global_norm_clip(
    grads: dict[str, Tensor], max_norm: Float[Tensor, "member"]
) -> tuple[dict[str, Tensor], Float[Tensor, "member"]]:
    """Scale each member's gradients to a norm of at most `max_norm` over all tensors; also return the norms before.

    Each tensor of `grads` leads with ``member``. A member's scale depends on its own norm only, so one that explodes
    leaves its neighbours as they are; its own norm comes back infinite or NaN and is the sign to stop it.
    An infinite `max_norm` clips nothing.

    >>> clipped, norms = global_norm_clip({"a": torch.tensor([[3.0, 4.0], [0.3, 0.4]])}, torch.tensor([1.0, 1.0]))
    >>> norms, clipped["a"]
    (tensor([5.0000, 0.5000]), tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]]))
    """
    for name, grad in grads.items():
        if len(grad) != len(max_norm):
            raise ConfigError(
                f"`grads[{name!r}]` leads with {len(grad)} and `max_norm` has {len(max_norm)} members; stack both by "
                f"member, and clip what all members share on its own."
            )
    if not grads:
        return {}, torch.zeros_like(max_norm)
    parts = [torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1, dtype=_wide(g)) for g in grads.values()]
    norms = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    scale = (max_norm.to(norms) / (norms + 1e-6)).clamp(max=1.0)  # torch.nn.utils.clip_grad_norm_ has the same 1e-6
    clipped = {n: (g * scale.view(-1, *[1] * (g.ndim - 1)).to(_wide(g))).to(g.dtype) for n, g in grads.items()}
    return clipped, norms.to(max_norm.dtype)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
