"""Members that own every parameter of the model."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from moalign.errors import ConfigError
from moalign.policies.hf import ModelOptions, ModelPolicy
from moalign.policies.stacked import averaged, checked_names
from moalign.policies.swapping import Swapped
from moalign.records import START, Need, Snapshot


class FullModel(ModelPolicy):
    """One member that is the whole model, or several, which then act one after the other.

    Trainable tensors are the model's parameters with a leading `member` axis, in the model's own type: load it in
    float32 to train. With `reference` the model keeps its parameters as they are, for `at=START`; without, a single
    member trains them in place and no second copy is held.
    """

    together = False

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        members: Sequence[str],
        reference: bool = True,
        **options: Unpack[ModelOptions],
    ):
        members = checked_names(members)
        model.requires_grad_(False)
        own = dict(model.named_parameters())
        if reference or len(members) > 1:
            tensors = {name: torch.stack([p.detach()] * len(members)) for name, p in own.items()}
        else:
            tensors = {name: p.detach()[None] for name, p in own.items()}  # the same storage
        self.names = tuple(own)
        super().__init__(model, members, tensors, **options)
        self.reference = reference
        if not reference:
            self.provides -= {Need.REFERENCE}

    def acting(self, members: Sequence[int], at: Snapshot | None) -> AbstractContextManager[object]:
        if at is START:
            if not self.reference:
                raise ConfigError(
                    "`at=START` needs the parameters as they were; build the policy with `reference=True`."
                )
            return ExitStack()
        tensors, (k,) = self.at(members, at)
        return Swapped(self.model, {name: tensors[name][k].to(self.device) for name in self.names})

    def mix(self, weights: Float[Tensor, "point member"], names: Sequence[str]) -> "FullModel":
        """Return new members whose parameters, value heads included, are Σ w[k]·θ[k]."""
        other = copy.copy(self)
        other._adopt(names, averaged(self.tensors, weights.to(self.device), names))
        return other

    def save(self, member: str, to: Path, *, merged: bool = False) -> None:
        """Write one member as a whole model, which it already is: `merged` changes nothing."""
        k = self.position(member)
        with Swapped(self.model, {name: self.tensors[name].detach()[k].clone() for name in self.names}):
            self.model.save_pretrained(to)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(to)
