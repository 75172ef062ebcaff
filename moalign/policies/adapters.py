"""Adapters of several members on one frozen model: which layers carry them, and the products they add."""

import re
from collections.abc import Sequence
from functools import partial
from types import TracebackType

import torch
from torch import Tensor, nn

from moalign.errors import ConfigError

WAY_OUT = "choose other layers with `target_modules`, or train all parameters with `FullModel`"


class Router:
    """Adds to each of some linear layers the product of the adapter that acts; adds nothing while none does.

    It works through forward hooks, so the model keeps its modules and names and other policies may share it.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self.acting: Acting | None = None
        for i, layer in enumerate(layers):
            layer.register_forward_hook(partial(self._add, i))

    def _add(self, i: int, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if self.acting is None:
            return None
        down, up = self.acting.factors[i]
        x = inputs[0]
        if down.dim() == 2:
            flat = x.reshape(-1, x.shape[-1])
            return torch.addmm(output.reshape(-1, output.shape[-1]), flat @ down, up).view(output.shape)
        blocks = len(down)
        low = torch.bmm(x.reshape(blocks, -1, x.shape[-1]), down)
        return torch.baddbmm(output.reshape(blocks, -1, output.shape[-1]), low, up).view(output.shape)


class Acting:
    """A reusable context in which the router's layers act as given members, one equal block of rows for each.

    `factors` holds for each layer the two transposed factors, the scale inside the second: ``[in r]`` and ``[r out]``
    for one member, with a leading block axis for several.
    """

    def __init__(self, router: Router, factors: Sequence[tuple[Tensor, Tensor]]):
        self.router = router
        self.factors = factors
        self.before: list[Acting | None] = []

    def __enter__(self) -> "Acting":
        self.before.append(self.router.acting)
        self.router.acting = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.router.acting = self.before.pop()


def target_layers(model: nn.Module, targets: str | Sequence[str] | None = None) -> dict[str, nn.Linear]:
    """Return by name the layers that carry adapters: every linear layer but the output's, or those that match.

    `targets` means what PEFT's `target_modules` means: a list of names or of their ends, a regular expression for the
    whole name, or ``"all-linear"``. A layer that cannot carry an adapter raises `ConfigError` with its name.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))
    >>> list(target_layers(model)), list(target_layers(model, ["2"]))
    (['0', '2'], ['2'])
    """
    every = targets is None or targets == "all-linear"
    output = getattr(model, "get_output_embeddings", lambda: None)()
    chosen: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        if every:
            _refuse(name, module)
            take = isinstance(module, nn.Linear) and module is not output
        else:
            take = bool(name) and _matches(name, targets or ())
            if take and module is output:
                raise ConfigError(f"`target_modules` chooses the output layer `{name}`, which stays frozen; {WAY_OUT}.")
            if take and not isinstance(module, nn.Linear):
                _refuse(name, module)
                raise ConfigError(
                    f"`target_modules` chooses `{name}`, a {type(module).__name__}; adapters need nn.Linear: {WAY_OUT}."
                )
        if take and isinstance(module, nn.Linear):
            if "experts" in name.split("."):
                raise ConfigError(f"layer `{name}` sees the rows that were routed to it; {WAY_OUT}.")
            chosen[name] = module
    if not chosen:
        linear = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)})
        raise ConfigError(f"`target_modules={targets!r}` chooses no layer; the linear layers end in {linear}.")
    return chosen


def _refuse(name: str, module: nn.Module) -> None:
    if type(module).__name__ == "Conv1D":
        raise ConfigError(f"layer `{name}` is a Conv1D, which cannot carry an adapter; {WAY_OUT}.")
    if any(parameter.dim() == 3 for parameter in module.parameters(recurse=False)):
        raise ConfigError(f"layer `{name}` fuses its experts in one tensor and cannot carry an adapter; {WAY_OUT}.")


def _matches(name: str, targets: str | Sequence[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)
