"""Sampling with vLLM on the trainer's GPU: one frozen base, and each member's adapter a LoRA request of its own."""

import hashlib
import importlib
import itertools
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.policies.drawing import seeds
from moalign.policies.engines.transformers import Transformers
from moalign.records import Requests, Samples, Snapshot, Stream

log = logging.getLogger("moalign")

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM can make room for
SHARED_MEMORY = "/dev/shm"
COLDEST, HOTTEST = 0.01, 2.0  # vLLM samples colder rows at 0.01, and refuses hotter ones
MISSING = "`engine`: vLLM is not installed; `pip install 'moalign[vllm]'`."
NO_ADAPTER = "`engine`: vLLM is given adapters, and a full model has none; use engine='transformers'."
MANY = "`engine`: vLLM is driven from one process, and this run has several; use engine='transformers'."
NO_PLACE = "`engine`: vLLM reads the base model itself; give `model` as a path or a hub id, not as a loaded model."


@register("engine", "vllm", paper="kwon2023vllm", test="tests/policies/test_engines.py::test_the_contract")
@dataclass(frozen=True)
class VLLM:
    """vLLM beside the trainer's model, on the same GPU: faster on long completions, at the price of a second base.

    Its log-probabilities are not quite the trainer's: give the policy loss a `correction`. Each completion has a seed
    from its member's stream, so a member's tokens depend on its company only as far as vLLM's arithmetic does. What
    vLLM cannot sample goes to the transformers engine: the policy `at` another moment, and soups whose rank is above
    `max_lora_rank`. Full models are refused. vLLM starts a process that imports the script again: guard its start by
    ``if __name__ == "__main__"``. Kwon et al. 2023, arXiv:2309.06180. Not yet run on a GPU.

    Args:
        gpu_memory_utilization: share of the GPU's memory that is vLLM's while it samples.
        max_model_len: longest prompt and completion together; None is the model's, for which there must be memory.
        max_lora_rank: largest rank it samples; None is room for the first adapters it is given.
        max_loras: members in one batch; None: all.
        sleep: give the memory back after sampling, the base's weights to the CPU's.
        options: anything else `vllm.LLM` takes.
    """

    gpu_memory_utilization: float = 0.3
    max_model_len: int | None = None
    max_lora_rank: int | None = None
    max_loras: int | None = None
    sleep: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ConfigError(f"`gpu_memory_utilization` must be in (0, 1], got {self.gpu_memory_utilization!r}.")
        if self.max_lora_rank is not None and self.max_lora_rank not in RANKS:
            raise ConfigError(f"`max_lora_rank` must be one of {RANKS} or None, got {self.max_lora_rank!r}.")
        object.__setattr__(self, "_running", None)  # no field: an engine is told apart by its options alone

    def problems(self, study: Any) -> list[str]:
        """Return why vLLM cannot sample for a study."""
        said = {
            MISSING: find_spec("vllm") is None,
            NO_ADAPTER: study.peft_config == "full",
            NO_PLACE: not isinstance(study.model, str | Path),
            MANY: int(os.environ.get("WORLD_SIZE", "1")) > 1,  # each would load its base onto the first GPU
        }
        return [problem for problem, holds in said.items() if holds]

    def generate(self, policy: Any, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        """Complete the requests, all at once: vLLM makes the batches."""
        if not hasattr(policy, "write_adapter"):
            raise ConfigError(NO_ADAPTER)
        warm = [t for t in set(requests.temperature.tolist()) if t != 0 and not COLDEST <= t <= HOTTEST]
        if warm:
            raise ConfigError(f"`temperature` must be 0 or in [{COLDEST}, {HOTTEST}] for vLLM, got {warm[0]:.3g}.")
        if at is not None:
            return Transformers().generate(policy, requests, stream=stream, at=at)
        running = self._started(policy)
        if policy.rank > running.rank:
            running.say_too_large(policy.rank)
            return Transformers().generate(policy, requests, stream=stream)
        adapters = running.renewed(policy, requests.member.unique().tolist())
        rows = torch.arange(len(requests.member)).repeat_interleave(requests.n).tolist()
        told = [tokens[mask].tolist() for tokens, mask in zip(requests.prompt_tokens.cpu(), requests.prompt_mask.cpu())]
        member, temperature = requests.member.tolist(), requests.temperature.tolist()
        chosen = seeds(requests, policy.members, stream).tolist()
        sampling = importlib.import_module("vllm").SamplingParams
        outputs = running.generate(
            [{"prompt_token_ids": told[i]} for i in rows],
            [
                sampling(
                    n=1,  # more than one is refused when greedy, and costs the same as so many requests
                    temperature=temperature[i],
                    max_tokens=requests.max_new_tokens,
                    seed=seed,
                    stop_token_ids=list(policy.eos_ids),
                    ignore_eos=True,  # else the model's own end tokens count as well
                    logprobs=0,  # of the sampled token alone
                    detokenize=False,
                )
                for i, seed in zip(rows, chosen)
            ],
            [adapters[member[i]] for i in rows],
        )
        return _samples([output.outputs[0] for output in outputs], requests, policy)

    def _started(self, policy: Any) -> "_Running":
        running: _Running | None = getattr(self, "_running")  # noqa: B009 - set in __post_init__
        base = policy.model.name_or_path
        if running is None or running.base != base:
            running = _Running(base, self._room(policy), self._llm(policy), sleep=self.sleep)
            object.__setattr__(self, "_running", running)
        return running

    def _room(self, policy: Any) -> int:
        room = self.max_lora_rank or next((rank for rank in RANKS if rank >= policy.rank), None)
        if room is None:
            raise ConfigError(f"`peft_config` has rank {policy.rank}, and vLLM can make room for {RANKS[-1]}.")
        return room

    def _llm(self, policy: Any) -> Any:
        """Load the base into vLLM, in the type that it is trained in."""
        if not policy.model.name_or_path:
            raise ConfigError(NO_PLACE)
        try:
            vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise ConfigError(MISSING) from error
        options: dict[str, Any] = {
            "model": policy.model.name_or_path,
            "dtype": str(policy.model.dtype).removeprefix("torch."),
            "enable_lora": True,
            "max_lora_rank": self._room(policy),
            "max_loras": self.max_loras or len(policy.members),
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_model_len": self.max_model_len,
            "enable_sleep_mode": self.sleep,
            "logprobs_mode": "processed_logprobs",  # at the row's temperature, as they are trained
        }
        return vllm.LLM(**options | dict(self.options))


class _Running:
    """A loaded base, asleep between calls, and the adapters it was given last."""

    def __init__(self, base: str, rank: int, llm: Any, *, sleep: bool):
        self.base, self.rank, self.llm, self.sleep = base, rank, llm, sleep
        memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="moalign-", dir=memory))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.numbers: Iterator[int] = itertools.count(1)
        self.adapters: dict[str, tuple[str, Any]] = {}  # by member: digest of the parameters, and their request
        self.said: set[int] = set()
        if sleep:
            llm.sleep(level=1)  # level 2 would drop the weights, which wake_up does not load again

    def generate(self, prompts: list[Any], sampling: list[Any], adapters: list[Any]) -> list[Any]:
        """Return vLLM's outputs, in the order of the prompts."""
        if self.sleep:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.llm.wake_up()
        try:
            return self.llm.generate(prompts, sampling, lora_request=adapters, use_tqdm=False)
        finally:
            if self.sleep:
                self.llm.sleep(level=1)

    def say_too_large(self, rank: int) -> None:
        """Say once for each rank that vLLM has no room for it."""
        if rank not in self.said:
            self.said.add(rank)
            log.warning("rank %d is above vLLM's `max_lora_rank` %d: sampled by transformers", rank, self.rank)

    def renewed(self, policy: Any, members: Sequence[int]) -> dict[int, Any]:
        """Return each member's LoRA request, a new one where its parameters are not those of the last.

        A new one has a number and a name that were never used: vLLM keeps adapters by number, and what it has read of
        a prompt by the adapter's name.
        """
        kept = {name: known for name, known in self.adapters.items() if name in policy.members}
        for k in members:
            name, digest = policy.members[k], _digest(policy, k)
            if name not in kept or kept[name][0] != digest:
                number = next(self.numbers)
                path = self.folder / str(number)
                policy.write_adapter(name, path)
                request = importlib.import_module("vllm.lora.request").LoRARequest
                kept[name] = digest, request(f"{name}/{number}", number, str(path))
        used = {request.lora_path for _, request in kept.values()}
        for _, old in self.adapters.values():
            if old.lora_path not in used:
                shutil.rmtree(old.lora_path, ignore_errors=True)
        self.adapters = kept
        return {k: kept[policy.members[k]][1] for k in members}


def _digest(policy: Any, k: int) -> str:
    """Return a digest of one member's adapter; parameters are written in place, so nothing else shows a change."""
    whole = hashlib.sha256()
    for name, tensor in policy.tensors.items():
        if name.endswith((".lora_A", ".lora_B")):
            whole.update(tensor.detach()[k].cpu().flatten().view(torch.uint8).numpy())
    return whole.hexdigest()


def _samples(completions: Sequence[Any], requests: Requests, policy: Any) -> Samples:
    shape = len(completions), requests.max_new_tokens
    tokens, logprobs = torch.full(shape, policy.pad_id), torch.zeros(shape)
    lengths = torch.tensor([len(completion.token_ids) for completion in completions])
    finished = torch.tensor([completion.token_ids[-1] in policy.eos_ids for completion in completions])
    for i, completion in enumerate(completions):
        said = list(completion.token_ids)
        tokens[i, : len(said)] = torch.tensor(said)
        logprobs[i, : len(said)] = torch.tensor([of[token].logprob for token, of in zip(said, completion.logprobs)])
    mask = torch.arange(shape[1]) < lengths[:, None]
    return Samples(*(x.to(policy.device) for x in (tokens, mask, logprobs, finished)))
