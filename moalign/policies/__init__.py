"""Policies: K behaviours behind one protocol (`moalign.records.Policy`).

`LoraMembers` are K adapters on one frozen model, `FullModel` owns every parameter, `Conditioned` are prefixes of
one member, `Tabular` needs no model:

>>> policy = Tabular(members=["brief", "right"], prompts=1, tokens=2, vocabulary=3)
>>> policy.gather([1, 1], ["right", "copy"]); policy.members
('right', 'copy')
"""

from moalign.policies.conditioned import Conditioned
from moalign.policies.full import FullModel
from moalign.policies.lora import LoraMembers
from moalign.policies.peft_format import load_adapter, lora_options, mix_adapters
from moalign.policies.tabular import Tabular

__all__ = ["Conditioned", "FullModel", "LoraMembers", "Tabular", "load_adapter", "lora_options", "mix_adapters"]
