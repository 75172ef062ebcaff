"""Sequence classifiers as rewards: reward models with one score, or with one head per named objective."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.texts import is_chat, text_of

if TYPE_CHECKING:  # the package stays quick to import: only those who load a model need transformers
    import transformers

HEADS = "heads.json"
"""Beside the model: head name to ``{"mean": …, "std": …}``, what its logit is centred by and then divided by."""


@register(
    "reward",
    "classifier",
    paper="li2025mogrpo",
    test="tests/rewards/test_classifier.py::test_several_labels_go_to_the_objectives_of_their_names",
)
@dataclass(frozen=True, eq=False)
class Classifier:
    """The logits of a sequence classifier on prompt + completion; called like any reward function.

    They are raw unless the model's config has ``function_to_apply="sigmoid"``, the name transformers' pipelines use.
    Where ``heads.json`` beside the model gives a head's mean and std, its logit is first brought to
    ``(logit - mean) / std``. With one label the result is a list; with several it is a dict, and each objective takes
    the label of its name: one forward pass serves them all, as the multi-label reward model of Li et al. 2025
    (arXiv:2503.21819) does. Texts are run in batches of like length; the order does not change a score.
    """

    model: "transformers.PreTrainedModel"
    tokenizer: "transformers.PreTrainedTokenizerBase"
    batch_size: int = 32
    add_special_tokens: bool = True  # to plain text (a chat template brings its own); TRL adds none
    heads: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # name to (mean, std) of its logit

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token_id is None:
            raise ConfigError("the reward model's tokenizer has no padding token; set `tokenizer.pad_token`.")
        self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id  # finds each text's last token
        if self._applied not in ("none", "sigmoid"):
            raise ConfigError(
                f"the reward model's config has `function_to_apply={self._applied!r}`; 'none' and 'sigmoid' are known."
            )
        for name, (mean, std) in self.heads.items():
            if name not in self.labels:
                raise ConfigError(f"`heads` names `{name}`; the reward model's labels are {', '.join(self.labels)}.")
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise ConfigError(f"`heads` of `{name}` must be a finite mean and a std above 0, not {mean}, {std}.")
        self.model.eval().requires_grad_(False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the heads, in the order of the logits."""
        return tuple(str(name) for _, name in sorted((self.model.config.id2label or {}).items()))

    @property
    def _applied(self) -> str:
        return getattr(self.model.config, "function_to_apply", None) or "none"

    @classmethod
    def load(cls, source: str | Path, **options: Any) -> "Classifier":
        """Read model and tokenizer from a path or the hub, onto the GPU if there is one; `options` are its fields'."""
        from transformers import AutoModelForSequenceClassification

        from moalign.models import best_device, explained, looks_local

        with explained(source, "a sequence classifier"):
            model, report = AutoModelForSequenceClassification.from_pretrained(
                str(Path(source).expanduser()) if looks_local(source) else source, output_loading_info=True
            )
        if report["missing_keys"]:  # transformers would fill them with random numbers
            missing = ", ".join(sorted(report["missing_keys"]))
            raise ConfigError(f"`{source}` is not a trained sequence classifier: it has no weights for {missing}.")
        return cls.of(model.to(best_device()), **options)

    @classmethod
    def of(cls, model: "transformers.PreTrainedModel", **options: Any) -> "Classifier":
        """Take a loaded model, and its tokenizer and ``heads.json`` from where the model came from."""
        from transformers import AutoTokenizer

        from moalign.models import explained

        source = model.name_or_path
        if not source:
            raise ConfigError("a reward model made in memory needs its tokenizer: pass Classifier(model, tokenizer).")
        with explained(source, "the reward model's tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(source)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model, tokenizer, **{"heads": read_heads(source), **options})

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float] | dict[str, list[float]]:
        texts = [joined(self.tokenizer, *both) for both in zip(prompts, completions, strict=True)]
        special = self.add_special_tokens and not (prompts and is_chat(prompts[0]))
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)  # the widest batch comes first
        logits = torch.zeros(len(texts), len(self.labels))
        for start in range(0, len(order), self.batch_size):
            some = order[start : start + self.batch_size]
            batch = encoded(self.tokenizer, [texts[i] for i in some], special=special).to(self.model.device)
            logits[some] = self.model(**batch).logits.float().cpu()
        values = {name: self._scaled(name, logits[:, i]).tolist() for i, name in enumerate(self.labels)}
        return values if len(values) > 1 else next(iter(values.values()))

    def _scaled(self, name: str, logits: torch.Tensor) -> torch.Tensor:
        mean, std = self.heads.get(name, (0.0, 1.0))
        scaled = (logits - mean) / std
        return scaled.sigmoid() if self._applied == "sigmoid" else scaled


def read_heads(directory: str | Path) -> dict[str, tuple[float, float]]:
    """Return the mean and std of each head's logit from ``heads.json``; none where there is no such file."""
    file = Path(directory).expanduser() / HEADS
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): (float(head["mean"]), float(head["std"])) for name, head in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'`{file}` must say {{"<head>": {{"mean": …, "std": …}}}}: {error!r}') from error


def joined(tokenizer: "transformers.PreTrainedTokenizerBase", prompt: Any, completion: Any) -> str:
    """Return the one text a reward model reads: prompt + completion, a chat through its template."""
    if not is_chat(prompt):
        return prompt + text_of(completion)
    if tokenizer.chat_template is None:
        raise ConfigError("the prompts are chats, but the reward model's tokenizer has no chat template.")
    return str(tokenizer.apply_chat_template([*prompt, *completion], tokenize=False))


def encoded(tokenizer: "transformers.PreTrainedTokenizerBase", texts: Sequence[str], *, special: bool) -> Any:
    """Return texts as one right-padded batch."""
    return tokenizer(
        list(texts),
        return_tensors="pt",
        padding=True,
        padding_side="right",
        add_special_tokens=special,
        return_token_type_ids=False,
    )
