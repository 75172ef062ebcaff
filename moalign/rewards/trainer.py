"""Train a reward model with one head per objective, from pairs or from scores."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from moalign.errors import ConfigError
from moalign.rewards.classifier import HEADS, encoded, joined
from moalign.rewards.texts import is_chat
from moalign.runs.atomic import AGAIN, whole_directory, write_json

if TYPE_CHECKING:
    import transformers

ONE_HEAD = "score"  # the name of the only head where pairs name none
SAMPLE = 1024  # texts by which a head's mean and std are measured


def train_reward_model(
    base: str | Path,
    directory: str | Path,
    *,
    pairs: Sequence[Mapping[str, Any]] | None = None,
    scores: Sequence[Mapping[str, Any]] | None = None,
    steps: int = 500,
    batch_size: int = 32,
    learning_rate: float = 2e-5,
    warmup: float = 0.05,
    centre: float = 0.01,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Fine-tune `base` as a reward model and save it, with its tokenizer and ``heads.json``, in `directory`.

    `pairs` are rows of ``prompt``, ``chosen`` and ``rejected``, with the head's name in ``objective`` where there are
    several; each head learns by `bradley_terry`, and its scores are standardised over texts it was trained on. `scores`
    are rows of ``prompt``, ``completion`` and ``scores``, a dict of head to number: every head learns by squared error
    from the rows that have its number (the multi-label reward model of Li et al. 2025, arXiv:2503.21819), and answers
    in that number's unit. Several heads share one encoder and one forward pass. `warmup` is a share of the `steps`;
    other seeds make the members of an `Ensemble`. ``Objective("helpful", directory)`` then uses the model.
    """
    to = Path(directory)
    if (pairs is None) == (scores is None):
        raise ConfigError("pass either `pairs` or `scores`.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"`directory` {to} holds something; name a new one.")
    if steps < 1 or batch_size < 1:
        raise ConfigError(f"`steps` and `batch_size` must be at least 1, not {steps} and {batch_size}.")
    columns = ("prompt", "completion", "scores") if pairs is None else ("prompt", "chosen", "rejected")
    rows = _rows(scores if pairs is None else pairs, columns)
    heads = _heads(rows)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, tokenizer = _loaded(base, heads)
        lesson = (
            _pairs(model, tokenizer, rows, heads, centre)
            if pairs is not None
            else _scores(model, tokenizer, rows, heads)
        )
        _fit(model, lesson.loss, len(rows), steps, batch_size, learning_rate, warmup, progress)
        constants = lesson.constants(torch.randperm(len(rows))[:SAMPLE])
    with whole_directory(to, replace=True, rest=AGAIN) as partial:
        model.eval().save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_json(partial / HEADS, {name: {"mean": mean, "std": std} for name, (mean, std) in constants.items()})
    return to


def bradley_terry(
    chosen: Float[Tensor, "pair"], rejected: Float[Tensor, "pair"], *, centre: float = 0.0
) -> Float[Tensor, ""]:
    r"""Return the mean of :math:`-\log\sigma(r_c - r_r) + \lambda (r_c + r_r)^2`.

    :math:`\lambda` ``centre`` holds the scores around 0, which differences alone leave open (Eisenstein et al. 2023,
    arXiv:2312.09244).

    >>> bradley_terry(torch.tensor([1.0]), torch.tensor([1.0]), centre=0.1)  # log 2 + 0.1 * 4
    tensor(1.0931)
    """
    return (-F.logsigmoid(chosen - rejected) + centre * (chosen + rejected) ** 2).mean()


def squared_error(predicted: Float[Tensor, "row head"], told: Float[Tensor, "row head"]) -> Float[Tensor, ""]:
    """Return the mean squared error over the numbers that are told; NaN is not told.

    >>> squared_error(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, float("nan")]]))
    tensor(4.)
    """
    known = ~told.isnan()
    return torch.where(known, predicted - told, 0.0).square().sum() / known.sum().clamp(min=1)


def pair_accuracy(reward: Callable[..., Any], pairs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return, by head, the share of pairs whose chosen completion has the higher reward; a tie counts half."""
    prompts = [row["prompt"] for row in pairs]
    both = [reward(prompts=prompts, completions=[row[side] for row in pairs]) for side in ("chosen", "rejected")]
    won: dict[str, list[float]] = {}
    for i, row in enumerate(pairs):
        name = str(row.get("objective", ONE_HEAD))
        chosen, rejected = (one[name][i] if isinstance(one, Mapping) else one[i] for one in both)
        won.setdefault(name, []).append((chosen > rejected) + 0.5 * (chosen == rejected))
    return {name: sum(shares) / len(shares) for name, shares in won.items()}


class _pairs:
    """What is learnt from pairs: the loss of a batch, and the scores' mean and std per head."""

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Any], heads: Sequence[str], centre: float):
        self.read, self.heads, self.centre = _reader(model, tokenizer, is_chat(rows[0]["prompt"])), heads, centre
        self.texts = [[joined(tokenizer, row["prompt"], row[side]) for row in rows] for side in ("chosen", "rejected")]
        self.head = torch.tensor([heads.index(str(row.get("objective", ONE_HEAD))) for row in rows])

    def logits(self, some: Int[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        both = self.read([side[i] for side in self.texts for i in some.tolist()])
        picked = both.gather(1, self.head[some].repeat(2).to(both.device)[:, None])[:, 0]
        return picked[: len(some)], picked[len(some) :]

    def loss(self, some: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        return bradley_terry(*self.logits(some), centre=self.centre)

    @torch.no_grad()
    def constants(self, some: Int[Tensor, "n"]) -> dict[str, tuple[float, float]]:
        values = torch.cat([torch.stack(self.logits(part)).cpu() for part in some.split(32)], dim=1)
        found = {}
        for i, name in enumerate(self.heads):
            of_head = values[:, self.head[some] == i]
            spread = float(of_head.std(correction=0)) if of_head.numel() else 0.0
            found[name] = (float(of_head.mean()), spread) if spread > 0 else (0.0, 1.0)
        return found


class _scores:
    """What is learnt from scores: targets are standardised while learning, and the constants undo it."""

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Any], heads: Sequence[str]):
        self.read, self.heads = _reader(model, tokenizer, is_chat(rows[0]["prompt"])), heads
        self.texts = [joined(tokenizer, row["prompt"], row["completion"]) for row in rows]
        told = [[row["scores"].get(name) for name in heads] for row in rows]
        raw = torch.tensor([[math.nan if value is None else float(value) for value in line] for line in told])
        self.mean = raw.nanmean(0)
        spread = (raw - self.mean).square().nanmean(0).sqrt()
        self.std = torch.where(spread > 0, spread, 1.0)
        self.told = (raw - self.mean) / self.std

    def loss(self, some: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        predicted = self.read([self.texts[i] for i in some.tolist()])
        return squared_error(predicted, self.told[some].to(predicted.device))

    def constants(self, some: Int[Tensor, "n"]) -> dict[str, tuple[float, float]]:
        # logit * std + mean, written as (logit - a) / b
        return {n: (-m / s, 1 / s) for n, m, s in zip(self.heads, self.mean.tolist(), self.std.tolist())}


def _reader(model: Any, tokenizer: Any, chat: bool) -> Callable[[Sequence[str]], Float[Tensor, "row head"]]:
    def read(texts: Sequence[str]) -> Float[Tensor, "row head"]:
        return model(**encoded(tokenizer, texts, special=not chat).to(model.device)).logits.float()

    return read


def _rows(given: Sequence[Mapping[str, Any]] | None, columns: tuple[str, ...]) -> list[Mapping[str, Any]]:
    rows = list(given or ())
    if not rows:
        raise ConfigError("there is nothing to learn from: pass some `pairs` or `scores`.")
    for i, row in enumerate(rows):
        if missing := [name for name in columns if name not in row]:
            raise ConfigError(f"row {i} has no `{missing[0]}`; it has {', '.join(map(str, row))}.")
    return rows


def _heads(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    named = (row["scores"] if "scores" in row else [row.get("objective", ONE_HEAD)] for row in rows)
    return tuple(sorted({str(name) for names in named for name in names}))  # sorted: their order means nothing


def _loaded(base: str | Path, heads: tuple[str, ...]) -> tuple["transformers.PreTrainedModel", Any]:
    """Return `base` in single precision with new heads, and its tokenizer."""
    from transformers import AutoModelForSequenceClassification

    from moalign.models import best_device, explained, load_tokenizer, looks_local

    tokenizer = load_tokenizer(base)
    with explained(base, "a model to make a sequence classifier of"):
        model = AutoModelForSequenceClassification.from_pretrained(
            str(Path(base).expanduser()) if looks_local(base) else base,
            num_labels=len(heads),
            id2label=dict(enumerate(heads)),
            label2id={name: i for i, name in enumerate(heads)},
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # heads of another number are replaced
        )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model.to(best_device()), tokenizer


def _fit(
    model: Any,
    loss_of: Callable[[Int[Tensor, "n"]], Float[Tensor, ""]],
    rows: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    progress: bool,
) -> None:
    """Minimise by AdamW, epoch after epoch in a new order; the rate warms up, then falls to 0 in a line."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    rising = max(1, round(warmup * steps))
    shape = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
    )
    order = torch.cat([torch.randperm(rows) for _ in range(-(-steps * batch_size // rows))])
    half = torch.autocast("cuda", dtype=torch.bfloat16, enabled=model.device.type == "cuda")
    model.train()
    with _bar(progress) as shown:
        task = shown.add_task("reward model", total=steps, loss=math.nan) if shown else None
        for step in range(steps):
            with half:
                loss = loss_of(order[step * batch_size :][:batch_size])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            shape.step()
            if shown:
                shown.update(task, advance=1, loss=loss.item())
    model.eval()


def _bar(shown: bool) -> Any:
    if not shown:
        return contextlib.nullcontext()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress("{task.description}", BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn())
