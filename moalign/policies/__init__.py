"""Policies: K members behind one protocol (`moalign.records.Policy`)."""

from moalign.policies.lora import LoraMembers

__all__ = ["LoraMembers"]
