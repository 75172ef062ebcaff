"""Two-digit addition with optional digit steps: accuracy, brevity and clarity pull apart.

Showing the carry makes the answer right and the reply clear, and costs tokens. The base model has read every style
in which 47+85 can be answered, one reply in ten with a wrong answer, and has stopped learning early:

| style | share | reply |
| --- | --- | --- |
| direct | .2 | ``132`` |
| marked | .15 | ``#132`` |
| sums | .15 | ``12 13 132`` |
| plain | .2 | ``7+5=12 4+8=13 132`` |
| tidy | .3 | ``7+5=12, 4+8+1=13, #132`` |

    python -m moalign.tasks.arithmetic models/arithmetic        # train the base model, or reuse it
"""

import os
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import ConfigError, UnknownNameError, nearest
from moalign.tasks._training import END, PAD, character_tokenizer, command, fit, fixed, kept, next_token_loss

if TYPE_CHECKING:  # torch and transformers only when a model or a tokenizer is asked for
    import transformers

STYLES = {"direct": 0.2, "marked": 0.15, "sums": 0.15, "plain": 0.2, "tidy": 0.3}
WRONG = 0.1  # share of the texts that give a wrong answer
MAX_NEW_TOKENS = 26  # the longest tidy reply takes 23, its end token included
BUDGET = 32  # tokens at which brevity reaches 0
SIZES = {"dev": 1024, "test": 4096}  # prompts held out; the rest, 2,980, is `train`
MODEL = {"hidden_size": 160, "intermediate_size": 440, "num_hidden_layers": 3, "num_attention_heads": 4}
TRAINING = {"learning_rate": 3e-3, "warmup": 30, "betas": (0.9, 0.95), "batch_size": 48, "initializer_range": 0.07}
CHARACTERS = "0123456789+=#, "
RECORD = "base.json"  # written last inside a base model's directory: what it was trained with


# --- data ---------------------------------------------------------------------------------------------------------


def prompts(split: str) -> list[dict[str, str]]:
    """Return the sums of a split, `train`, `dev` or `test`, with columns ``prompt`` and ``answer``.

    The split is one fixed random draw of pairs, whatever a run's seed: a reused base model has read none of the
    held-out sums. 47+85 and 85+47 fall on the same side; doubles such as 22+22 stay in `train`.

    >>> prompts("train")[0], len(prompts("train")), len(prompts("dev")), len(prompts("test"))
    ({'prompt': '27+10=', 'answer': '37'}, 2980, 1024, 4096)
    """
    return [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in _pairs(split)]


def _pairs(split: str) -> list[tuple[int, int]]:
    if split not in {"train", *SIZES}:
        raise UnknownNameError(f"no `split` is called `{split}`{nearest(split, ['train', *SIZES])}")
    rng = random.Random("arithmetic")  # seeded and random: a hash once held out exactly the sums that end in 0
    unordered = [(a, b) for a in range(10, 100) for b in range(a + 1, 100)]
    rng.shuffle(unordered)
    dev, test = SIZES["dev"] // 2, SIZES["test"] // 2
    chosen = {"dev": unordered[:dev], "test": unordered[dev : dev + test], "train": unordered[dev + test :]}[split]
    pairs = chosen + [(b, a) for a, b in chosen]
    if split == "train":
        pairs += [(a, a) for a in range(10, 100)]
    rng.shuffle(pairs)
    return pairs


def solution(a: int, b: int, *, style: str, answer: int | None = None) -> str:
    """Return the reply to a+b in a style; `answer` is what it claims, the truth unless given.

    >>> solution(47, 85, style="tidy"), solution(47, 85, style="plain", answer=122)
    ('7+5=12, 4+8+1=13, #132', '7+5=12 4+8=13 122')
    """
    (a1, a0), (b1, b0) = divmod(a, 10), divmod(b, 10)
    ones, carry, answer = a0 + b0, (a0 + b0) // 10, a + b if answer is None else answer
    tens = a1 + b1 + carry
    replies = {
        "direct": f"{answer}",
        "marked": f"#{answer}",
        "sums": f"{ones} {tens} {answer}",
        "plain": f"{a0}+{b0}={ones} {a1}+{b1}={tens} {answer}",  # the carry is not shown
        "tidy": f"{a0}+{b0}={ones}, {a1}+{b1}+{carry}={tens}, #{answer}",
    }
    if style not in replies:
        raise UnknownNameError(f"no `style` is called `{style}`{nearest(style, replies)}")
    return replies[style]


def texts(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Return `count` training sums with a reply each, styles mixed as `STYLES`, a share `WRONG` of answers off.

    >>> texts(2)  # doctest: +NORMALIZE_WHITESPACE
    [{'prompt': '62+68=', 'answer': '130', 'completion': '2+8=10, 6+6+1=13, #130'},
     {'prompt': '60+15=', 'answer': '75', 'completion': '0+5=5, 6+1+0=7, #75'}]
    """
    rng, pairs = random.Random(seed), _pairs("train")
    out = []
    for _ in range(count):
        (a, b), (style,) = rng.choice(pairs), rng.choices(list(STYLES), weights=list(STYLES.values()))
        off = rng.choice([-10, -1, 1, 10]) if rng.random() < WRONG else 0
        reply = solution(a, b, style=style, answer=a + b + off)
        out.append({"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": reply})
    return out


def pairs(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Return `count` training sums with two replies that `accuracy` tells apart, in styles mixed as `STYLES`.

    >>> pairs(1)  # doctest: +NORMALIZE_WHITESPACE
    [{'prompt': '62+68=', 'answer': '130', 'chosen': '2+8=10, 6+6+1=13, #130', 'rejected': '10 13 131'}]
    """
    rng, sums = random.Random(seed), _pairs("train")
    out = []
    for _ in range(count):
        (a, b), styles = rng.choice(sums), rng.choices(list(STYLES), weights=list(STYLES.values()), k=2)
        offs = (0, rng.choice([-10, -1, 1, 10]))
        replies = [solution(a, b, style=style, answer=a + b + off) for style, off in zip(styles, offs)]
        out.append({"prompt": f"{a}+{b}=", "answer": str(a + b), "chosen": replies[0], "rejected": replies[1]})
    return out


def tokenizer() -> "transformers.PreTrainedTokenizerFast":
    """Return a tokenizer with one token per character and ``<pad>``, ``<eos>``, ``<unk>``; pads on the left."""
    return character_tokenizer(CHARACTERS)


# --- rewards: TRL's signature, larger is better, in [0, 1] ----------------------------------------------------------


def accuracy(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
    """Return 1 where the last number of a completion is the right sum.

    >>> accuracy(["7+5=12, 4+8+1=13, #132", "122", ""], answer=["132", "132", "132"])
    [1.0, 0.0, 0.0]
    """
    return [float(_given(text) == right) for text, right in zip(completions, answer, strict=True)]


def brevity(
    completions: Sequence[str], completion_ids: Sequence[Sequence[int]], answer: Sequence[str], **columns: Any
) -> list[float]:
    """Return ``1 - tokens / 32``, the end token counted, and 0 where the last number is not as long as the answer.

    Silence is not brief: without that rule a preference for brevity soon finds the empty reply, and then ``7``.

    >>> brevity(["132", "122", "7", ""], completion_ids=[[4, 6, 5, 1], [4, 5, 5, 1], [10, 1], [1]], answer=["132"] * 4)
    [0.875, 0.875, 0.0, 0.0]
    """
    return [
        max(0.0, 1 - len(ids) / BUDGET) if len(_given(text)) == len(right) else 0.0
        for text, ids, right in zip(completions, completion_ids, answer, strict=True)
    ]


def _given(text: str) -> str:
    return (re.findall(r"\d+", text) or [""])[-1]


def clarity(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the share of the agreed layout that is there: ones step, tens step with carry, marked answer, and form.

    A step counts when it adds the digits of the prompt, the answer when a ``#`` marks it at the end, the form when
    nothing but these three stands there, separated by ``", "``. Whether the sums are right is `accuracy`'s question.

    >>> clarity(["47+85="] * 3, ["7+5=12, 4+8+1=13, #132", "7+5=12 4+8=13 132", "#132"])
    [1.0, 0.25, 0.25]
    """
    return [_clarity(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]


def _clarity(prompt: str, text: str) -> float:
    question = re.search(r"(\d)(\d)\+(\d)(\d)=", prompt)
    if question is None:
        raise ConfigError(f"`clarity` needs prompts like '47+85=', not {prompt!r}; use this task's own prompts.")
    a1, a0, b1, b0 = question.groups()
    ones, tens, marked = rf"{a0}\+{b0}=\d+", rf"{a1}\+{b1}\+[01]=\d+", r"#\d+"
    words = text.replace(",", " ").split() or [""]
    shown = [any(re.fullmatch(step, word) for word in words) for step in (ones, tens)]
    return (
        sum([*shown, bool(re.fullmatch(marked, words[-1])), bool(re.fullmatch(f"{ones}, {tens}, {marked}", text))]) / 4
    )


# --- base model -----------------------------------------------------------------------------------------------------


def train_base(
    directory: str | os.PathLike[str],
    *,
    seconds: float | None = None,
    steps: int = 600,
    seed: int = 0,
    threads: int = 2,
    progress: bool = True,
) -> Path:
    """Train the base model, about a minute on 2 cores, and save it in Hugging Face format; reuse it if it is there.

    A model of the same settings is returned as it is; one of other settings is replaced. `seconds` stops early.
    The directory appears whole or not at all. Same settings, same machine: the same parameters.
    """
    if steps < 1:
        raise ConfigError(f"`steps` must be at least 1, not {steps}.")

    def make(partial: Path) -> None:
        _trained(seconds=seconds, steps=steps, seed=seed, threads=threads, progress=progress).save_pretrained(partial)
        tokenizer().save_pretrained(partial)

    settings = {"steps": steps, "seconds": seconds, "seed": seed, "wrong": WRONG, "styles": STYLES, "held_out": SIZES}
    return kept(directory, RECORD, {**settings, **MODEL, **TRAINING}, make)


def _trained(*, seconds: float | None, steps: int, seed: int, threads: int, progress: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens, size = tokenizer(), int(TRAINING["batch_size"])
    options: dict[str, Any] = {
        "vocab_size": len(tokens),
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "initializer_range": TRAINING["initializer_range"],
        "bos_token_id": None,
        "eos_token_id": tokens.convert_tokens_to_ids(END),
        "pad_token_id": tokens.convert_tokens_to_ids(PAD),
        **MODEL,
    }
    lines = [line["prompt"] + line["completion"] + END for line in texts(steps * size, seed=seed)]
    with fixed(seed=seed, threads=threads):
        model = LlamaForCausalLM(LlamaConfig(**options))
        fit(
            model,
            lambda step: next_token_loss(model, tokens, lines[step * size :][:size], prompt=6),  # 47+85=
            steps=steps,
            training=TRAINING,
            title="base model",
            seconds=seconds,
            progress=progress,
        )
    model.generation_config.max_new_tokens = MAX_NEW_TOKENS
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or reuse the base model from the command line."""
    what = "Train the base model of the arithmetic task (about a minute on 2 cores), or reuse it."
    command(train_base, arguments, task="arithmetic", description=what, steps=600)


if __name__ == "__main__":
    main()
