"""A bandit of four arms and two objectives, spoken by a tiny language model: the best front is known in closed form.

| arm | x | y | share of the base model |
| --- | --- | --- | --- |
| A | 1 | 0 | .25 |
| B | 0 | 1 | .25 |
| C | .3 | .3 | .2 |
| D | .1 | .1 | .3 |

A policy's mean is a mixture of the arms, so the front of E[r] is the segment from A to B, x + y = 1. It tells the
criteria apart: fixed linear weights reach its two ends only, the best Chebyshev value of single samples is that of C,
which mixtures of A and B dominate, and all of the front is open only to methods that climb u(E[r]).

Prompts are numbers that mean nothing, ``4711>``; a reply is the name of an arm, anything else is worth 0. No sample
lies above x + y = 1, so neither does a measured mean: noise cannot lift a hypervolume over `optimum`.

    python -m moalign.tasks.bandit models/bandit        # write the base model, a few seconds
"""

import os
import random
from collections.abc import Sequence
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import ConfigError, UnknownNameError, nearest
from moalign.tasks._training import character_tokenizer, command, kept

if TYPE_CHECKING:  # torch and transformers only when a model or a tokenizer is asked for
    import transformers

ARMS = {"A": (1.0, 0.0), "B": (0.0, 1.0), "C": (0.3, 0.3), "D": (0.1, 0.1)}
BASE = {"A": 0.25, "B": 0.25, "C": 0.2, "D": 0.3}  # how often the base model names each arm
MAX_NEW_TOKENS = 2  # the arm and the end token
SIZES = {"train": 4880, "dev": 1024, "test": 4096}
MODEL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.3,  # of the output layer too, which stays frozen: arms must be able to win by far
}
TRAINING: dict[str, Any] = {"steps": 150, "batch_size": 64, "learning_rate": 1e-2, "seed": 0}
RECORD = "bandit.json"  # written last inside a base model's directory: what it was made with


# --- data ---------------------------------------------------------------------------------------------------------


def prompts(split: str) -> list[dict[str, str]]:
    """Return the prompts of a split, `train`, `dev` or `test`; no two are equal.

    >>> prompts("train")[0], len(prompts("train")), len(prompts("dev")), len(prompts("test"))
    ({'prompt': '0242>'}, 4880, 1024, 4096)
    """
    if split not in SIZES:
        raise UnknownNameError(f"no `split` is called `{split}`{nearest(split, SIZES)}")
    numbers = list(range(sum(SIZES.values())))
    random.Random("bandit").shuffle(numbers)
    start = sum(size for name, size in SIZES.items() if list(SIZES).index(name) < list(SIZES).index(split))
    return [{"prompt": f"{number:04d}>"} for number in numbers[start : start + SIZES[split]]]


def texts(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Return `count` training prompts, each with a reply as the base model gives it, an arm drawn from `BASE`.

    >>> texts(2)
    [{'prompt': '2177>', 'completion': 'D'}, {'prompt': '3484>', 'completion': 'A'}]
    """
    rng, known = random.Random(seed), prompts("train")
    return [{**rng.choice(known), "completion": _arm(rng)} for _ in range(count)]


def pairs(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Return `count` pairs of base replies, `chosen` and `rejected` as a Bradley-Terry judge of objective x decides.

    It prefers a reply of reward x to one of x' with probability σ(x - x'), so that the best policy in DPO of margin
    β is base · exp(x / β), and in MODPO of weights w base · exp(w · r / β), each up to a constant.

    >>> pairs(2)
    [{'prompt': '2177>', 'chosen': 'D', 'rejected': 'B'}, {'prompt': '6914>', 'chosen': 'D', 'rejected': 'B'}]
    """
    rng, known = random.Random(seed), prompts("train")
    out = []
    while len(out) < count:
        prompt, first, second = rng.choice(known), _arm(rng), _arm(rng)
        if first != second:
            kept = rng.random() < 1 / (1 + exp(ARMS[second][0] - ARMS[first][0]))
            chosen, rejected = (first, second) if kept else (second, first)
            out.append({**prompt, "chosen": chosen, "rejected": rejected})
    return out


def _arm(rng: random.Random) -> str:
    return rng.choices(list(BASE), weights=list(BASE.values()))[0]


# --- rewards: TRL's signature, larger is better, in [0, 1] ----------------------------------------------------------


def x(completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the first reward of the arm that a completion names.

    >>> x(["A", "B", "C", "AA", ""])
    [1.0, 0.0, 0.3, 0.0, 0.0]
    """
    return [ARMS.get(text, (0.0, 0.0))[0] for text in completions]


def y(completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the second reward of the arm that a completion names.

    >>> y(["A", "B", "C", "AA", ""])
    [0.0, 1.0, 0.3, 0.0, 0.0]
    """
    return [ARMS.get(text, (0.0, 0.0))[1] for text in completions]


# --- what is best -----------------------------------------------------------------------------------------------------


def front(count: int, *, ends: bool = True) -> list[tuple[float, float]]:
    """Return `count` evenly spread points (x, y) of the front of means, x rising, with its ends or within them.

    Without ends the gaps beyond the outer points are as wide as the others: these points cover `optimum`.

    >>> front(3), front(3, ends=False)
    ([(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)], [(0.25, 0.75), (0.5, 0.5), (0.75, 0.25)])
    """
    if count < 1 + ends:
        raise ConfigError(f"`count` must be at least {1 + ends}, not {count}.")
    first, gaps = (0, count - 1) if ends else (1, count + 1)
    return [(k / gaps, (gaps - k) / gaps) for k in range(first, first + count)]


def optimum(members: int) -> float:
    r"""Return the largest hypervolume above (0, 0) of the means of :math:`K` ``members``, :math:`K / (2 (K + 1))`.

    Points on the segment cut it into :math:`K + 1` gaps of widths :math:`g` that sum to 1, and each leaves a triangle
    of area :math:`g^2 / 2` uncovered; equal gaps leave least. Auger, Bader, Brockhoff and Zitzler 2009, "Theory of the
    hypervolume indicator: optimal μ-distributions and the choice of the reference point".

    >>> optimum(1), optimum(8)
    (0.25, 0.4444444444444444)
    """
    if members < 1:
        raise ConfigError(f"`members` must be at least 1, not {members}.")
    return members / (2 * (members + 1))


# --- base model -----------------------------------------------------------------------------------------------------


def tokenizer() -> "transformers.PreTrainedTokenizerFast":
    """Return a tokenizer with one token per character and ``<pad>``, ``<eos>``, ``<unk>``; pads on the left."""
    return character_tokenizer([*"0123456789>", *ARMS])


def write_base(directory: str | os.PathLike[str]) -> Path:
    """Make the base model, which names arms as `BASE` says, in Hugging Face format; reuse it if it is there.

    A base model of other settings is replaced. The directory appears whole or not at all.
    """

    def make(partial: Path) -> None:
        _trained().save_pretrained(partial)
        tokenizer().save_pretrained(partial)

    return kept(directory, RECORD, {"arms": BASE, "train": SIZES["train"], **MODEL, **TRAINING}, make)


def _trained() -> Any:
    """Return a model of the exact shares: it is trained on them, not on draws of them."""
    import torch
    from torch.nn import functional as F
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens, size, steps = tokenizer(), TRAINING["batch_size"], TRAINING["steps"]
    ids = tokens.get_vocab()
    end, arms = ids["<eos>"], torch.tensor([ids[arm] for arm in ARMS])
    config = LlamaConfig(
        vocab_size=len(tokens),
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=ids["<pad>"],
        **MODEL,
    )
    shares = torch.zeros(len(tokens)).index_put((arms,), torch.tensor(list(BASE.values())))
    lines = [line["prompt"] + line["completion"] for line in texts(steps * size, seed=TRAINING["seed"])]
    batches = tokens(lines, return_tensors="pt")["input_ids"].split(size)  # 6 tokens each: the prompt's 5 and the arm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRAINING["seed"])
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.Adam(model.parameters(), lr=TRAINING["learning_rate"])
        shape = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
        for batch in batches:
            logits = model(input_ids=batch).logits
            arm = F.cross_entropy(logits[:, 4], shares.expand(len(batch), -1))
            loss = arm + F.cross_entropy(logits[:, 5], torch.full((len(batch),), end))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shape.step()
    model.generation_config.max_new_tokens = MAX_NEW_TOKENS
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or reuse the base model from the command line."""
    what = "Write the base model of the bandit task (a few seconds), or reuse it."
    command(write_base, arguments, task="bandit", description=what)


if __name__ == "__main__":
    main()
