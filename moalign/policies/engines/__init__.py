"""Engines: what samples a policy's tokens. A study names one; a policy hands its requests to it.

| engine | what it does |
| --- | --- |
| `Transformers` | the trainer's own model, all members in one loop |
| `VLLM` | vLLM on the same GPU, each member's adapter a LoRA request of its own; not yet run on a GPU |
"""

from moalign.policies.engines.engine import Engine, engine_of
from moalign.policies.engines.transformers import Transformers, generate
from moalign.policies.engines.vllm import VLLM

__all__ = ["VLLM", "Engine", "Transformers", "engine_of", "generate"]
