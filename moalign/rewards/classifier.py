"""Sequence classifiers as rewards: reward models with one score, or with one per named label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from moalign.errors import ConfigError
from moalign.models import best_device, explained, looks_local
from moalign.rewards.texts import is_chat, text_of


@dataclass(frozen=True, eq=False)
class Classifier:
    """The logits of a sequence classifier on prompt + completion; called like any reward function.

    They are raw unless the model's config has ``function_to_apply="sigmoid"``, the name transformers' pipelines use.
    With one label the result is a list; with several it is a dict, and each objective takes the label of its name.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 32
    add_special_tokens: bool = True  # to plain text (a chat template brings its own); TRL adds none

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token_id is None:
            raise ConfigError("the reward model's tokenizer has no padding token; set `tokenizer.pad_token`.")
        self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id  # finds each text's last token
        if self._applied not in ("none", "sigmoid"):
            raise ConfigError(
                f"the reward model's config has `function_to_apply={self._applied!r}`; 'none' and 'sigmoid' are known."
            )
        self.model.eval().requires_grad_(False)

    @property
    def _applied(self) -> str:
        return getattr(self.model.config, "function_to_apply", None) or "none"

    @classmethod
    def load(cls, source: str | Path) -> "Classifier":
        """Read model and tokenizer from a path or the hub, onto the GPU if there is one."""
        with explained(source, "a sequence classifier"):
            model, report = AutoModelForSequenceClassification.from_pretrained(
                str(Path(source).expanduser()) if looks_local(source) else source, output_loading_info=True
            )
        if report["missing_keys"]:  # transformers would fill them with random numbers
            missing = ", ".join(sorted(report["missing_keys"]))
            raise ConfigError(f"`{source}` is not a trained sequence classifier: it has no weights for {missing}.")
        return cls.of(model.to(best_device()))

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Classifier":
        """Take a loaded model, and its tokenizer from where the model came from."""
        source = model.name_or_path
        if not source:
            raise ConfigError("a reward model made in memory needs its tokenizer: pass Classifier(model, tokenizer).")
        with explained(source, "the reward model's tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(source)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model, tokenizer)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float] | dict[str, list[float]]:
        logits = torch.cat(
            [
                self.model(
                    **self._encode(prompts[i : i + self.batch_size], completions[i : i + self.batch_size])
                ).logits
                for i in range(0, len(prompts), self.batch_size)
            ]
        ).float()
        if self._applied == "sigmoid":
            logits = logits.sigmoid()
        labels = {int(index): str(name) for index, name in (self.model.config.id2label or {}).items()}
        if logits.shape[1] == 1:
            return logits[:, 0].tolist()
        return {name: logits[:, index].tolist() for index, name in labels.items()}

    def _encode(self, prompts: Sequence[Any], completions: Sequence[Any]) -> dict[str, torch.Tensor]:
        texts = []
        for prompt, completion in zip(prompts, completions, strict=True):
            if is_chat(prompt):
                if self.tokenizer.chat_template is None:
                    raise ConfigError("the prompts are chats, but the reward model's tokenizer has no chat template.")
                texts.append(self.tokenizer.apply_chat_template([*prompt, *completion], tokenize=False))
            else:
                texts.append(prompt + text_of(completion))
        encoded = self.tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            padding_side="right",
            add_special_tokens=self.add_special_tokens and not is_chat(prompts[0]),
            return_token_type_ids=False,
        )
        return {name: tensor.to(self.model.device) for name, tensor in encoded.items()}
