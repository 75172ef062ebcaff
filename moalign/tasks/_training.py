"""What the tasks share: a directory that appears whole or not at all, and the training of small models."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import ConfigError, MoalignError

if TYPE_CHECKING:
    import transformers

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"


def kept(
    directory: str | os.PathLike[str], record: str, settings: Mapping[str, Any], make: Callable[[Path], None]
) -> Path:
    """Return the directory if its `record` file says it was made with `settings`, else let `make` fill it anew.

    It appears whole or not at all. One that holds something else is refused: `ConfigError`.
    """
    to, settings = Path(directory).absolute(), json.loads(json.dumps(settings))  # tuples become lists, as when read
    known = _read(to / record)
    if known == settings:
        return to
    if known is None and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"`directory` {to} holds something else than a base model of this task; name another one.")
    from moalign.runs.atomic import AGAIN, whole_directory  # here, because its room imports torch

    with whole_directory(to, replace=True, rest=AGAIN) as partial:
        make(partial)
        (partial / record).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return to


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def character_tokenizer(characters: Sequence[str]) -> "transformers.PreTrainedTokenizerFast":
    """Return a tokenizer with one token per character and ``<pad>``, ``<eos>``, ``<unk>``; pads on the left."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([PAD, END, UNKNOWN, *characters])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    words.decoder = decoders.Fuse()
    special = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side="left", clean_up_tokenization_spaces=False, **special
    )


def command(
    make: Callable[..., Path], arguments: Sequence[str] | None, *, task: str, description: str, steps: int | None = None
) -> None:
    """Run ``python -m moalign.tasks.<task> DIRECTORY``; `steps` is the default, None takes no options."""
    import argparse

    example = "" if steps is None else f" --steps {steps} --seed 0"
    parser = argparse.ArgumentParser(
        prog=f"python -m moalign.tasks.{task}",
        description=description,
        epilog=f"example: python -m moalign.tasks.{task} models/{task}{example}",
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where the models are, or will be")
    if steps is not None:
        parser.add_argument("--steps", type=int, default=steps, help=f"training steps of the base (default: {steps})")
        parser.add_argument("--seed", type=int, default=0, help="of the parameters and the texts (default: 0)")
        parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    options = vars(parser.parse_args(arguments))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bars while saving: one file, at once
    try:
        print(make(options.pop("directory"), **options))
    except MoalignError as error:
        parser.error(str(error))


@contextmanager
def fixed(*, seed: int, threads: int) -> Iterator[None]:
    """Make what is inside repeatable; the caller's random numbers and number of threads are left as they were."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def fit(
    model: Any,
    loss_of: Callable[[int], Any],
    *,
    steps: int,
    training: Mapping[str, Any],
    title: str,
    seconds: float | None = None,
    progress: bool = True,
) -> None:
    """Minimise ``loss_of(step)`` by AdamW: a short warm-up, then straight down to a twentieth of the rate.

    `training` gives ``learning_rate``, ``betas`` and ``warmup``; `seconds` stops early.
    """
    import torch

    started = time.monotonic()
    with bar(progress) as shown:
        optimizer = torch.optim.AdamW(model.parameters(), lr=training["learning_rate"], betas=training["betas"])
        # held at its height, the rate leaves the arithmetic task's accuracy near .2
        shape = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / training["warmup"]) * (1 - 0.95 * step / steps)
        )
        task = shown.add_task(title, total=steps, loss=float("nan")) if shown else None
        for step in range(steps):
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            shape.step()
            if shown:
                shown.update(task, advance=1, loss=loss.item())
            if seconds is not None and time.monotonic() - started > seconds:
                break


def next_token_loss(model: Any, tokens: Any, lines: Sequence[str], *, prompt: int) -> Any:
    """Return the mean cross-entropy of lines after their prompt, which takes `prompt` tokens in each of them."""
    from torch.nn import functional as F

    batch = tokens(lines, padding=True, padding_side="right", return_tensors="pt")
    x = batch["input_ids"]
    logits = model(input_ids=x[:, :-1], attention_mask=batch["attention_mask"][:, :-1]).logits
    # the prompt's last token predicts the first one of the reply
    return F.cross_entropy(
        logits[:, prompt - 1 :].flatten(0, 1), x[:, prompt:].flatten(), ignore_index=tokens.pad_token_id
    )


def pair_loss(model: Any, tokens: Any, pairs: Sequence[Mapping[str, str]], *, centre: float) -> Any:
    """Return `bradley_terry` of a one-label classifier on `pairs` of prompt, chosen and rejected."""
    from moalign.rewards.trainer import bradley_terry

    texts = [pair["prompt"] + pair[side] for side in ("chosen", "rejected") for pair in pairs]
    batch = tokens(texts, padding=True, padding_side="right", return_tensors="pt", return_token_type_ids=False)
    chosen, rejected = model(**batch).logits[:, 0].chunk(2)
    return bradley_terry(chosen, rejected, centre=centre)


def bar(shown: bool) -> Any:
    """Return a progress bar, or a context that gives None."""
    if not shown:
        return nullcontext()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ["{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}")]
    return Progress(*columns, TimeRemainingColumn())
