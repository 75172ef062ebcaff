"""How long a study takes: what its stages count, times what each costs on this machine, measured in a second or two.

What is measured is the library's own code on a model of the study's shapes with random weights: all of its layers where
they are small, else one and two of them, from which the others follow. Too much work for a second is measured in part.
"""

import copy
import functools
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from moalign.models import best_device
from moalign.optimizers.steps import AdamW, apply, global_norm_clip, init
from moalign.policies import FullModel, LoraMembers
from moalign.policies.engines.transformers import SHRINK
from moalign.records import Need, Requests, Rows, Stream
from moalign.study._sizes import BATCH, available, waves
from moalign.study._work import Work

SMALL = {"cpu": 1 << 25, "cuda": 1 << 31}  # parameters of a model that is measured whole
BUDGET = {"cpu": 2e9, "cuda": 2e13}  # floating point operations of a forward pass that is measured
TIGHT = 4e8  # of layers of a model too large for this CPU
WORDS = {"cpu": 1 << 22, "cuda": 1 << 40}  # numbers of the embeddings that are measured
LAYER = {"cpu": 1 << 25, "cuda": 1 << 40}  # parameters of a layer of which two are measured; larger: one
DECODED = 3  # tokens
LONG = 0.25  # seconds


@dataclass(frozen=True)
class Rates:
    """Seconds, as measured, of each thing that stages count."""

    read: float  # a prompt's token, in sampling
    token: float  # one more token of a wave, however many rows
    row: float  # one more token of one of its rows
    train: float  # a completion's token, forward and backward
    score: float  # a completion's token, forward
    update: float  # all members, once

    def along(self, other: "Rates", steps: float) -> "Rates":
        """Return what follows when each layer more costs what separates `other` from these."""
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return Rates(*(max(a + steps * (b - a), 0.0) for a, b in pairs))


@dataclass(frozen=True)
class Seconds:
    """What a run takes, without the rewards' own time, which nobody can know before."""

    sampling: float
    updating: float  # forward and backward passes, and the optimizer
    valuing: float

    @property
    def total(self) -> float:
        return self.sampling + self.updating + self.valuing


def seconds(work: Work, rates: Rates) -> Seconds:
    """Return how long a run takes at these rates."""
    tokens = sum(work.lengths(work.rows)) * work.members
    updating = work.passes * (tokens * rates.train + rates.update) + work.scorings * tokens * rates.score
    sampling = _sampled(work, rates, work.prompts, work.group, work.members) if work.sampled else 0.0
    valuing = 0.0
    for prompts in work.valued:
        whole, rest = divmod(prompts, BATCH)
        valuing += whole * _sampled(work, rates, BATCH, 1, work.behaviours)
        valuing += _sampled(work, rates, rest, 1, work.behaviours) if rest else 0.0
    return Seconds(work.steps * sampling, work.steps * updating, valuing)


def _sampled(work: Work, rates: Rates, requests: int, n: int, members: int) -> float:
    """Return how long it takes until the longest of every wave has ended; rows that have ended leave together."""
    took = requests * members * work.prompt * rates.read
    for rows, times in Counter(waves(work, requests, n, members)).items():
        ends, stay = work.lengths(rows), rows
        for t in range(1, ends[-1]):  # the first token follows from reading the prompt
            going = rows - bisect_right(ends, t)
            stay = going if going <= SHRINK * stay else stay
            took += times * (rates.token + stay * rates.row)
    return took


def measured(work: Work) -> Rates:
    """Measure this machine for a study, once per process for studies that differ in nothing that matters."""
    # what only says how often things happen does not matter
    return _measured(replace(work, steps=1, valued=(1, 1), save_steps=1, checkpoints=1, kept_groups=1), threads())


def threads() -> int:
    return torch.get_num_threads()


@functools.lru_cache(maxsize=32)
def _measured(work: Work, threads: int) -> Rates:
    if work.parameters <= SMALL[work.device]:
        return _of_layers(work, work.layers)
    one, head = _of_layers(work, 1), work.vocabulary * work.hidden
    layer = (work.parameters - (1 if work.config.tie_word_embeddings else 2) * head) / work.layers
    two = _of_layers(work, 2) if layer <= LAYER[work.device] else one.along(Rates(*[0.0] * 6), -1)
    more, words = work.layers - 1, head - _words(work) * work.hidden  # words that are not measured cost as a layer does
    return replace(one.along(two, more + words / layer), update=one.along(two, more).update)


def _of_layers(work: Work, layers: int) -> Rates:
    """Measure a model of so many layers."""
    model = _model(work, layers)
    vocabulary = model.config.get_text_config().vocab_size
    most = _tokens(work, sum(p.numel() for p in model.parameters()), vocabulary)
    members = max(min(work.members, most // 4), 1)
    names = [f"m{k:02d}" for k in range(members)]
    options: dict[str, Any] = {"members": names, "pad_id": 0, "eos_ids": (vocabulary,)}  # an end that never comes
    options["gradient_checkpointing"] = work.recompute
    lora = {"r": work.rank, "target_modules": work.targets}
    policy: Any = FullModel(model, **options) if work.full else LoraMembers(model, **lora, **options)

    width = max(min(work.prompt + int(work.mean / 2), most // members), 1)  # of a cache in the middle of its growth
    prompts = max(min(work.prompts, most // (members * width)), 1)
    n = max(min(work.rows, most // members) // prompts, 1)
    read, wave = _decoding(policy, prompts, n, width, vocabulary)
    _, one = _decoding(policy, 1, 1, width, vocabulary)
    row = max(wave - one, 0.0) / max(members * (prompts * n - 1), 1)

    micro = min(work.rows, work.micro_rows or work.rows)
    micro = max(min(micro, int(most / (work.mean + work.prompt / work.group))), 1)
    batch = _rows(work, micro, members, vocabulary, policy.device)
    tokens = int(batch.completion_mask.sum())
    leaves = [policy.tensors[name] for name in policy.tensors]
    needs = frozenset({Need.LOGPROBS})

    def train() -> None:
        loss = policy.forward(batch, needs).logprobs.sum()
        for channel in range(work.channels):
            torch.autograd.grad(loss, leaves, retain_graph=channel + 1 < work.channels, allow_unused=True)

    def score() -> None:
        with torch.no_grad():
            policy.forward(batch, needs)

    return Rates(
        read=read,
        token=max(one - members * row, 0.0),
        row=row,
        train=_timed(train) / tokens,
        score=_timed(score) / tokens,
        update=_timed(_update(policy)) * work.members / members,
    )


def _words(work: Work) -> int:
    return max(min(work.vocabulary, WORDS[work.device] // work.hidden), 16)


def _tokens(work: Work, parameters: int, vocabulary: int) -> int:
    """Return how many tokens a pass that is measured may have: quick, and with logits that fit easily."""
    free = available()
    fit = 1 << 20 if free is None else free // 4 // (16 * vocabulary)
    budget = TIGHT if work.device == "cpu" and work.parameters > SMALL["cpu"] else BUDGET[work.device]
    return max(min(int(budget / (2 * parameters)), fit), 1)


def _model(work: Work, layers: int) -> Any:
    """Return a model of the study's shapes; all its weights are one number, which is quick and costs as much to use."""
    config = copy.deepcopy(work.config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    text.vocab_size = _words(work)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[work.itemsize]
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = model.to_empty(device=best_device())
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(0.01 if tensor.is_floating_point() else 1)
    return model


def _decoding(policy: Any, prompts: int, n: int, width: int, vocabulary: int) -> tuple[float, float]:
    """Return the seconds of reading a token of prompts of this width, and of one more token of a wave behind them."""
    members, device = len(policy.members), policy.device
    many = members * prompts
    requests = Requests(
        member=torch.arange(members, device=device).repeat_interleave(prompts),
        prompt_tokens=torch.randint(vocabulary, (many, width), generator=torch.Generator().manual_seed(0)).to(device),
        prompt_mask=torch.ones(many, width, dtype=torch.bool, device=device),
        n=n,
        max_new_tokens=1,
        temperature=torch.ones(many, device=device),
    )
    longer, stream = replace(requests, max_new_tokens=1 + DECODED), Stream(0, 0, "part")
    read = _timed(lambda: policy.sample(requests, stream=stream))
    more = _timed(lambda: policy.sample(longer, stream=stream), warm=False)
    return read / (many * width), max(more - read, 0.0) / DECODED


def _rows(work: Work, rows: int, members: int, vocabulary: int, device: torch.device) -> Rows:
    """Return a micro-batch of the first member: groups of completions of random prompts, of the study's lengths."""
    numbers, ends = torch.Generator().manual_seed(0), torch.tensor(work.lengths(rows))
    group = torch.arange(rows) // work.group
    prompts = torch.randint(vocabulary, (int(group[-1]) + 1, work.prompt), generator=numbers)
    mask = torch.arange(int(ends.max())) < ends[torch.randperm(rows, generator=numbers)][:, None]
    found: dict[str, Any] = {
        "member": torch.zeros(rows, dtype=torch.long),
        "prompt_id": group,
        "group": group,
        "prompt_tokens": prompts[group],
        "prompt_mask": torch.ones(rows, work.prompt, dtype=torch.bool),
        "tokens": torch.randint(vocabulary, mask.shape, generator=numbers),
        "completion_mask": mask,
        "train_mask": mask,
        "keep": torch.ones(rows, dtype=torch.bool),
        "temperature": torch.ones(rows),
        "index": torch.arange(rows),
    }
    return Rows(members=members, **{name: value.to(device) for name, value in found.items()})


def _update(policy: Any) -> Callable[[], None]:
    """Return one clipped step of the usual rule for every member."""
    rule, members = AdamW(), len(policy.members)
    gradients = {name: torch.zeros_like(x) for name, x in policy.tensors.items()}
    state = {name: init(rule, x) for name, x in policy.tensors.items()}
    one, active = torch.ones(members, device=policy.device), torch.ones(members, dtype=torch.bool, device=policy.device)

    def step() -> None:
        clipped, _ = global_norm_clip(gradients, one)
        for name, x in policy.tensors.items():
            apply(rule, x.detach(), clipped[name], state[name], lr=0 * one, active=active)

    return step


def _timed(work: Callable[[], object], *, warm: bool = True) -> float:
    """Return the seconds of a call, the better of two, after one that is not counted; a long one is not repeated."""
    if warm:
        work()
    took = _once(work)
    return took if took > LONG else min(took, _once(work))


def _once(work: Callable[[], object]) -> float:
    began = clock()
    work()
    return clock() - began


def clock() -> float:
    """Return the time in seconds, a GPU's queue included.

    With one thread it is the processor's own: on an idle machine the same, and others that want it do not disturb it.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if threads() == 1 else time.perf_counter()
