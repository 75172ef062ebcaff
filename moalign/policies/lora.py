"""K LoRA adapters on one frozen model: the default policy."""

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from moalign.errors import ConfigError
from moalign.policies.adapters import Acting, Router, target_layers
from moalign.policies.hf import HEAD, HEAD_BIAS, ModelOptions, ModelPolicy
from moalign.policies.peft_format import load_adapter, lora_options, save_adapter, scaling
from moalign.policies.stacked import check_weights, checked_names
from moalign.policies.swapping import Swapped
from moalign.records import START, Snapshot, Stream


class LoraMembers(ModelPolicy):
    """Members W + s·B[k]·A[k], one adapter each; Hu et al. 2021, arXiv:2106.09685.

    W are the weights of `model`, frozen; A ``[member r in]`` starts at random from (`seed`, "init", the member's and
    the layer's name), B ``[member out r]`` at zero; s = `alpha` / `r` (`rslora`: / √r). Adapters are float32 and follow
    the model's type while they act. `at=START` is the model without adapters.

    `micro_rows` and `micro_members` bound a micro-batch, `sample_rows` what is sampled at once. `value_heads` adds that
    many linear heads per member on the last hidden state, whose gradient stops there with `detach_values`. `tokenizer`,
    if given, is saved beside a member.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        members: Sequence[str],
        r: int = 8,
        alpha: float | int = 16,
        rslora: bool = False,
        target_modules: str | Sequence[str] | None = None,
        seed: int = 0,
        **options: Unpack[ModelOptions],
    ):
        if r < 1:
            raise ConfigError(f"`r` must be at least 1, found {r}.")
        members = checked_names(members)
        model.requires_grad_(False)
        self.layers = target_layers(model, target_modules)
        self.router = Router(list(self.layers.values()))
        self.scale = scaling(r, alpha, rslora)
        stream = Stream(seed, 0, "init")
        tensors: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            out_features, in_features = layer.out_features, layer.in_features
            a = torch.empty(len(members), r, in_features)
            for k, member in enumerate(members):
                nn.init.kaiming_uniform_(a[k], a=math.sqrt(5), generator=stream.generator(f"{member}/{name}"))
            tensors[f"{name}.lora_A"] = a.to(model.device)
            tensors[f"{name}.lora_B"] = torch.zeros(len(members), out_features, r, device=model.device)
        super().__init__(model, members, tensors, **options)

    @classmethod
    def from_peft(cls, model: PreTrainedModel, config: LoraConfig, **options: Any) -> "LoraMembers":
        """Build members as a PEFT configuration describes them; what members cannot do is refused by name."""
        return cls(model, **lora_options(config), **options)

    def acting(self, members: Sequence[int], at: Snapshot | None) -> AbstractContextManager[object]:
        if at is START:
            return ExitStack()
        tensors, index = self.at(members, at)
        factors = []
        for name in self.layers:
            a, b = tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"]
            # one member takes plain products
            a, b = (a[index[0]], b[index[0]]) if len(index) == 1 else (a[index], b[index])
            down, up = a.transpose(-1, -2), b.transpose(-1, -2) * self.scale
            factors.append((down.to(self.device, self.model.dtype), up.to(self.device, self.model.dtype)))
        return Acting(self.router, factors)

    def product(self, name: str, weights: Float[Tensor, "member"]) -> Float[Tensor, "out in"]:
        """Return Σ w[k]·s·B[k]·A[k] of one layer, the dense change of its weight."""
        a, b = self.tensors[f"{name}.lora_A"].detach(), self.tensors[f"{name}.lora_B"].detach()
        used = weights.to(a) != 0  # a member that has no share must not spoil the sum, whatever it holds
        return torch.einsum("k,kor,kri->oi", weights.to(a)[used] * self.scale, b[used], a[used])

    def mix(self, weights: Float[Tensor, "point member"], names: Sequence[str]) -> "LoraMembers":
        """Return new members whose products are Σ w[k]·B[k]·A[k], exactly, by adapters of a larger rank.

        Averaging the factors themselves would be wrong: B·A has many factorisations. Value heads are averaged.
        """
        check_weights(weights, len(self.members), names)
        weights = weights.to(self.device, torch.float32)
        many = max(int((weights != 0).sum(1).max()), 1)
        index = weights.abs().argsort(dim=1, descending=True, stable=True)[
            :, :many
        ]  # members of weight zero add no rank
        share = weights.gather(1, index)
        tensors: dict[str, Tensor] = {}
        for name in self.layers:
            a, b = self.tensors[f"{name}.lora_A"].detach(), self.tensors[f"{name}.lora_B"].detach()
            tensors[f"{name}.lora_A"] = a[index].flatten(1, 2)  # point (member r) in
            parts = torch.where(share[:, :, None, None] != 0, b[index] * share[:, :, None, None], 0.0)
            tensors[f"{name}.lora_B"] = parts.permute(0, 2, 1, 3).flatten(2)
        for name in (HEAD, HEAD_BIAS):
            if name in self.tensors:
                tensors[name] = torch.tensordot(weights, self.tensors[name].detach(), 1)
        other = copy.copy(self)
        other._adopt(names, tensors)
        return other

    def save(self, member: str, to: Path, *, merged: bool = False) -> None:
        """Write one member: an adapter that PEFT loads onto the base, or with `merged` a whole model."""
        to = Path(to)
        k = self.position(member)
        if merged:
            weights = torch.zeros(len(self.members))
            weights[k] = 1.0
            change = {
                f"{name}.weight": (layer.weight.float() + self.product(name, weights)).to(layer.weight.dtype)
                for name, layer in self.layers.items()
            }
            with Swapped(self.model, change):
                self.model.save_pretrained(to)
        else:
            self.write_adapter(member, to)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(to)

    def write_adapter(self, member: str, to: Path) -> None:
        """Write one member's adapter alone, as PEFT reads it."""
        k = self.position(member)
        factors = {n: (self.tensors[f"{n}.lora_A"][k], self.tensors[f"{n}.lora_B"][k]) for n in self.layers}
        base = self.model.config._name_or_path or None
        save_adapter(to, factors, scale=self.scale, base=base, targets=list(self.layers))

    @property
    def rank(self) -> int:
        """The adapters' rank: `mix` makes larger ones."""
        return self.tensors[f"{next(iter(self.layers))}.lora_A"].shape[1]

    def load(self, member: str, path: Path) -> None:
        """Read an adapter directory into one member; layers, rank and scale must be the policy's own."""
        factors, scale = load_adapter(Path(path))
        if set(factors) != set(self.layers):
            raise ConfigError(
                f"the adapter at `{path}` changes {sorted(factors)[:3]}… and the policy {sorted(self.layers)[:3]}…; "
                "build the policy with the adapter's `target_modules`."
            )
        tensors = {}
        for name, (a, b) in factors.items():
            tensors[f"{name}.lora_A"] = a[None]
            tensors[f"{name}.lora_B"] = b[None] * (scale / self.scale)
        for name in (HEAD, HEAD_BIAS):
            if name in self.tensors:
                tensors[name] = self.tensors[name].detach()[[self.position(member)]]
        self.restore(Snapshot((member,), tensors))
