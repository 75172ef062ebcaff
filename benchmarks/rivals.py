"""The same job for TRL's trainer and for a study: a Llama from its configuration, prompts, three cheap rewards."""

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from moalign import Objective, Study, recipes

HIDDEN, LAYERS, HEADS, INNER = 160, 3, 4, 440  # 0.9 million parameters beside the embedding
PROMPTS, GENERATIONS, LENGTH = 16, 8, 32
LETTERS = "abcdefghijklmnop"  # prompts; the rest of a vocabulary are numbered tokens


def write_model(directory: Path, vocabulary: int, *, hidden: int = HIDDEN, layers: int = LAYERS) -> Path:
    """Write an untrained model; it ends a completion about once in `vocabulary` tokens, each token being as likely."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    names = [*special.values(), *LETTERS, *(chr(0x4E00 + i) for i in range(vocabulary))][:vocabulary]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # type: ignore[assignment]
    words.decoder = decoders.Fuse()  # type: ignore[assignment]
    PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **special).save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * INNER // HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def prompts(count: int) -> list[dict[str, str]]:
    """Return so many different prompts of six letters."""
    many = len(LETTERS)
    return [{"prompt": "".join(LETTERS[(i // many**k) % many] for k in range(6))} for i in range(count)]


def early(completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the share of letters from the first half of the alphabet."""
    return [sum(c < "i" for c in text) / (len(text) + 1) for text in completions]


def varied(completions: Sequence[str], **columns: Any) -> list[float]:
    """Return how many different letters there are, of 16."""
    return [len(set(text)) / len(LETTERS) for text in completions]


def brief(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    """Return 1 minus the share of the length that is used."""
    return [1 - len(ids) / LENGTH for ids in completion_ids]


def brief_for_trl(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    return brief(completion_ids)


REWARDS = {"early": early, "varied": varied, "brief": brief}


def trl_config(out: Path, *, steps: int, seed: int = 0, **options: Any) -> Any:
    """Return TRL's configuration of the job: one update a step, no KL, sum of the rewards, AdamW."""
    from trl.trainer.grpo_config import GRPOConfig

    return GRPOConfig(
        output_dir=str(out),
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_steps=steps,
        seed=seed,
        per_device_train_batch_size=PROMPTS * GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=LENGTH,
        temperature=1.0,
        beta=0.0,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        loss_type="dr_grpo",
        shuffle_dataset=True,
        **options,
    )


def trl_trainer(model: Path, config: Any, **options: Any) -> Any:
    """Return TRL's trainer of the job."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.trainer.grpo_trainer import GRPOTrainer

    rewards: list[Any] = [early, varied, brief_for_trl]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GRPOTrainer(
            model=str(model),
            reward_funcs=rewards,
            args=config,
            train_dataset=Dataset.from_list(prompts(4096)),
            processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
            **options,
        )


def step_times(trainer: Any) -> list[float]:
    """Train, and return what each step took, the first one left out."""
    from transformers import PrinterCallback, TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    return [b - a for a, b in itertools.pairwise(ends)]


def study(model: Path, config: Any, *, members: int, **changes: Any) -> Study:
    """Return the same job as a study, through `recipes.from_trl`."""
    recipe = recipes.from_trl(config, reward_names=list(REWARDS))
    lines = prompts(8192)
    plain = Study(
        "job",
        [Objective(name, reward) for name, reward in REWARDS.items()],
        model=str(model),
        train_dataset=lines[:4096],
        eval_dataset=lines[4096:4112],
        test_dataset=lines[4112:4128],
        recipe=recipe,
        members=members,
        preferences=[{name: 1 / len(REWARDS) for name in REWARDS}] * members,
        reference_point=dict.fromkeys(REWARDS, 0.0),
        eval_prompts=1,
        save_steps=10**6,
        save_rollouts=0,
        seed=config.seed,
    )
    return plain.replace(**changes)


def study_times(job: Study, out: Path, *, on_step: Callable[[dict[str, Any]], None] = lambda line: None) -> list[float]:
    """Run a study, and return what each step took, the first one left out."""
    ends: list[float] = []

    def clock(line: dict[str, Any]) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
        on_step(line)

    job.run(out, on_step=clock)
    return [b - a for a, b in itertools.pairwise(ends)]
