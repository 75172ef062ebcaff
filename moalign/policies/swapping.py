"""Other tensors in the place of a module's parameters, for a while."""

from collections.abc import Mapping

from torch import Tensor, nn


class Swapped:
    """A reusable context in which parameters of these names are these tensors; gradients flow to them.

    Names that share one parameter (tied weights) all get its tensor.

    >>> import torch
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> with Swapped(layer, {"weight": torch.full((1, 1), 3.0)}):
    ...     layer(torch.ones(1)).item()
    3.0
    """

    def __init__(self, module: nn.Module, tensors: Mapping[str, Tensor]):
        by_id = {id(module.get_parameter(name)): tensor for name, tensor in tensors.items()}
        self.places = [
            (owner, name, by_id[id(parameter)])
            for owner in module.modules()
            for name, parameter in owner._parameters.items()
            if id(parameter) in by_id
        ]
        self.before: list[list[nn.Parameter | None]] = []

    def __enter__(self) -> "Swapped":
        self.before.append([owner._parameters[name] for owner, name, _ in self.places])
        for owner, name, tensor in self.places:  # a plain tensor, which the typed dictionary does not expect
            dict.__setitem__(owner._parameters, name, tensor)
        return self

    def __exit__(self, *raised: object) -> None:
        for (owner, name, _), parameter in zip(self.places, self.before.pop()):
            owner._parameters[name] = parameter
