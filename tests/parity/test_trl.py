"""TRL 1.16 computes advantages, losses and gradients on given completions; ours must be the same numbers."""

import ast
import inspect
import itertools
import math
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline, trl_normalize_then_sum, trl_sum_then_normalize
from moalign.losses import (
    KL,
    PolicyLoss,
    constant,
    constant_bounds,
    k3_ratio,
    sequence_mean,
    sequence_ratio,
    token_mean,
    token_ratio,
)
from moalign.parts import bind, build, fields
from moalign.recipes import from_trl
from moalign.records import Credit, Need, Outputs, Policy, Rewards, Rows, Setting
from moalign.training.losses import TotalLoss
from moalign.training.recipe import resolve
from moalign.training.signals import channel_preferences

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

GROUPS, SIZE, LONGEST, BETA, TEMPERATURE, WEIGHTS = 3, 4, 6, 0.04, 0.9, (1.0, 0.3)
NAN = float("nan")
AGGREGATIONS = {
    ("sum_then_normalize", "group"): trl_sum_then_normalize(),
    ("sum_then_normalize", "batch"): trl_sum_then_normalize(scale_rewards="batch"),
    ("sum_then_normalize", "none"): trl_sum_then_normalize(scale_rewards="none"),
    ("normalize_then_sum", "group"): trl_normalize_then_sum(),
}
REDUCTIONS = {
    "grpo": sequence_mean,
    "bnpo": token_mean,
    "dapo": token_mean,
    "dr_grpo": bind(constant, length=LONGEST),
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a tiny untrained Llama and a tokenizer of single letters."""
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    vocabulary = {t: i for i, t in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *"abcdefghij"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def trl_says(model_dir: Path):
    """Return a function that lets TRL score completions and returns its trainer, its batch and the rewards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from transformers import AutoTokenizer
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer

    def first(prompts, completions, first, **_):
        return list(first)

    def second(prompts, completions, second, **_):
        return list(second)

    def roll(prompts, trainer):
        generator = torch.Generator().manual_seed(3)
        lengths = torch.randint(1, LONGEST + 1, (len(prompts),), generator=generator)
        ids = torch.randint(4, 14, (len(prompts), LONGEST), generator=generator)
        completions = [row[:n].tolist() for row, n in zip(ids, lengths)]
        for row in completions[::2]:
            row[-1] = 2  # ended; the others were cut off
        return {
            "prompt_ids": [trainer.processing_class(p)["input_ids"] for p in prompts],
            "completion_ids": completions,
            "logprobs": None,
        }

    def run(out: Path, rewards: torch.Tensor, **options):
        prompts = [p for p in ("abc", "de", "fghij") for _ in range(SIZE)]
        columns = [[None if v != v else v for v in column] for column in rewards.T.tolist()]
        rows = [{"prompt": p, "first": a, "second": b} for p, a, b in zip(prompts, *columns)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = GRPOConfig(
                output_dir=str(out),
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to=[],
                save_strategy="no",
                per_device_train_batch_size=len(rows),
                num_generations=SIZE,
                max_completion_length=LONGEST,
                temperature=TEMPERATURE,
                reward_weights=list(WEIGHTS),
                beta=BETA,
                **options,
            )
            trainer = GRPOTrainer(
                model=str(model_dir),
                reward_funcs=[first, second],
                args=config,
                train_dataset=Dataset.from_list([{"prompt": "abc"}]),
                processing_class=AutoTokenizer.from_pretrained(model_dir, padding_side="left"),
                rollout_func=roll,
            )
            assert trainer.model is not None
            trainer.model.train()
            trainer.current_gradient_accumulation_steps = 1
            batch = trainer._generate_and_score_completions(rows)
        return SimpleNamespace(trainer=trainer, batch=batch)

    return run


def some_rewards(seed: int = 0) -> torch.Tensor:
    """Return two rewards per completion, the second None for a third of the completions."""
    rewards = torch.randn(GROUPS * SIZE, 2, generator=torch.Generator().manual_seed(seed))
    rewards[::3, 1] = NAN
    return rewards


def rows_of(batch: dict[str, torch.Tensor], rewards: torch.Tensor) -> Rows:
    """Return TRL's batch as our record: one member, a group per prompt."""
    n = len(rewards)
    mask = batch["completion_mask"].bool()
    return Rows(
        members=1,
        member=torch.zeros(n, dtype=torch.long),
        prompt_id=torch.arange(n) // SIZE,
        group=torch.arange(n) // SIZE,
        prompt_tokens=batch["prompt_ids"],
        prompt_mask=batch["prompt_mask"].bool(),
        tokens=batch["completion_ids"],
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(n, dtype=torch.bool),
        temperature=torch.full((n,), TEMPERATURE),
        index=torch.arange(n),
        rewards=Rewards(
            rewards.nan_to_num(), ~rewards.isnan(), ("first", "second"), torch.full((2,), NAN), torch.full((2,), NAN)
        ),
    )


def credit_of(pipeline: CreditPipeline, rows: Rows) -> Credit:
    weights = torch.tensor(WEIGHTS).view(1, 1, 1, 2)
    return pipeline(rows, weights, torch.ones(1), pipeline.init(1, 2))[0]


def logprobs_of(model: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """Return the tokens' log-probabilities by one plain forward pass."""
    ids = torch.cat([rows.prompt_tokens, rows.tokens], 1)
    attention = torch.cat([rows.prompt_mask, rows.completion_mask], 1).long()
    logits = model(input_ids=ids, attention_mask=attention).logits[:, rows.prompt_tokens.shape[1] - 1 : -1]
    every = (logits / rows.temperature[:, None, None]).log_softmax(-1)
    return every.gather(-1, rows.tokens[..., None])[..., 0]


DEGENERATE = {
    "a third missing": some_rewards(),
    "nothing missing": some_rewards(1).nan_to_num(0.5),
    "rows without any": torch.where(torch.arange(12)[:, None] % 5 == 0, NAN, some_rewards(2)),
    "a group without any": torch.where(torch.arange(12)[:, None] < SIZE, NAN, some_rewards(3)),
    "one scored in its group": torch.where(torch.arange(12)[:, None] % SIZE > 0, NAN, some_rewards(4)),
    "one scored in all": torch.where(torch.arange(12)[:, None] > 0, NAN, some_rewards(5).nan_to_num(0.5)),
    "constant": torch.full((12, 2), 0.5),
    "constant column": torch.stack([torch.arange(12) * 0.25, torch.ones(12)], 1),
    "a column that is never there": torch.stack([torch.arange(12) ** 0.5, torch.full((12,), NAN)], 1),
    "binary": (some_rewards(6).nan_to_num(0.0) > 0).float(),
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids="-".join)
def test_advantages(trl_says, tmp_path: Path, aggregation: tuple[str, str]) -> None:
    how, scale = aggregation
    for name, rewards in DEGENERATE.items():
        said = trl_says(tmp_path, rewards, multi_objective_aggregation=how, scale_rewards=scale)
        rows = rows_of(said.batch, rewards)
        ours = credit_of(AGGREGATIONS[aggregation], rows).advantages[:, 0, 0]
        assert_close(ours, said.batch["advantages"], atol=1e-6, rtol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    assert ours.any()


def test_presets() -> None:
    """The two aggregations go by name, too."""
    for name, same in (("grpo-trl", trl_sum_then_normalize()), ("gdpo-trl", trl_normalize_then_sum())):
        assert fields(build("credit", name)) == fields(same)


CASES = [
    *itertools.product(REDUCTIONS, [("sum_then_normalize", "group"), ("normalize_then_sum", "group")], ["token"]),
    ("grpo", ("sum_then_normalize", "group"), "sequence"),
]


@pytest.mark.parametrize(("loss_type", "aggregation", "level"), CASES, ids=lambda x: x if isinstance(x, str) else x[0])
def test_loss_and_gradients(trl_says, tmp_path: Path, loss_type: str, aggregation: tuple[str, str], level: str) -> None:
    rewards = some_rewards()
    options = {"multi_objective_aggregation": aggregation[0], "scale_rewards": aggregation[1]}
    options["importance_sampling_level"] = level
    said = trl_says(tmp_path, rewards, loss_type=loss_type, epsilon=0.2, epsilon_high=0.28, **options)
    model, rows = said.trainer.model, rows_of(said.batch, rewards)
    generator = torch.Generator().manual_seed(9)
    reference = said.batch["ref_per_token_logps"]
    assert_close(reference[rows.train_mask], logprobs_of(model, rows).detach()[rows.train_mask], atol=1e-5, rtol=0)
    # an older policy and a reference some way off, so that clipping, ratio and divergence all bite
    old = reference + 0.4 * torch.randn(reference.shape, generator=generator)
    away = reference + 0.3 * torch.randn(reference.shape, generator=generator)
    theirs = said.trainer.compute_loss(model, said.batch | {"old_per_token_logps": old, "ref_per_token_logps": away})
    expected = torch.autograd.grad(theirs, list(model.parameters()))

    rows = Rows(**{**vars(rows), "old_logprobs": old, "reference_logprobs": away})
    credit = credit_of(AGGREGATIONS[aggregation], rows)
    outputs = Outputs(logprobs_of(model, rows))
    policy = PolicyLoss(level, bounds=bind(constant_bounds, epsilon=0.2, epsilon_high=0.28))
    ratio = {"token": token_ratio, "sequence": sequence_ratio}[level]
    per_token = policy(outputs, rows, credit) + KL(bind(k3_ratio, ratio=ratio), beta=BETA)(outputs, rows, credit)
    loss = (per_token[..., 0] * REDUCTIONS[loss_type](rows, credit)).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()))

    assert_close(loss, theirs, atol=1e-5, rtol=0)
    assert max(g.abs().max() for g in expected) > 1e-2
    for ours, trl in zip(gradients, expected):
        assert_close(ours, trl, atol=1e-5, rtol=0)
    plain = policy(outputs, rows, credit) + KL("k3", beta=BETA)(outputs, rows, credit)
    assert abs((plain[..., 0] * REDUCTIONS[loss_type](rows, credit)).sum() - theirs) > 1e-5  # the ratio is needed


class Model(Policy):
    """One member: TRL's own model, by a plain forward pass."""

    members = ("m0",)

    def __init__(self, model: torch.nn.Module):
        self.model = model

    def forward(self, rows, needs, *, at=None):
        return Outputs(logprobs_of(self.model, rows))


WHOLE = [
    *itertools.product(REDUCTIONS, [("sum_then_normalize", "group"), ("normalize_then_sum", "group")], [1], ["token"]),
    *itertools.product(["grpo", "dr_grpo", "dapo"], [("sum_then_normalize", "batch")], [2, 3], ["token"]),
    ("grpo", ("sum_then_normalize", "none"), 1, "sequence"),
    ("dapo", ("sum_then_normalize", "group"), 1, "sequence"),
]


@pytest.mark.parametrize(
    ("loss_type", "aggregation", "accumulate", "level"),
    WHOLE,
    ids=lambda x: str(x) if not isinstance(x, tuple) else x[0],
)
def test_a_configuration_taken_over_computes_what_trl_computes(
    trl_says, tmp_path: Path, loss_type: str, aggregation: tuple[str, str], accumulate: int, level: str
) -> None:
    """Rewards to loss by the recipe's own parts; TRL's loss is the sum over its accumulation steps."""
    rewards = some_rewards(7)
    said = trl_says(
        tmp_path,
        rewards,
        max_steps=10,
        loss_type=loss_type,
        multi_objective_aggregation=aggregation[0],
        scale_rewards=aggregation[1],
        importance_sampling_level=level,
        gradient_accumulation_steps=accumulate,
        epsilon_high=0.28,
    )
    trainer, model, generator = said.trainer, said.trainer.model, torch.Generator().manual_seed(5)
    reference = said.batch["ref_per_token_logps"]
    old = reference + 0.4 * torch.randn(reference.shape, generator=generator)
    away = reference + 0.3 * torch.randn(reference.shape, generator=generator)
    batch = said.batch | {"old_per_token_logps": old, "ref_per_token_logps": away}
    trainer.current_gradient_accumulation_steps = accumulate
    order = torch.randperm(len(rewards), generator=generator)  # TRL shuffles the batch before it splits it
    theirs = torch.zeros(())
    for index in order.chunk(accumulate):
        cut = {k: v[index] if isinstance(v, torch.Tensor) and v.ndim else v for k, v in batch.items()}
        theirs = theirs + trainer.compute_loss(model, cut)
    expected = torch.autograd.grad(theirs, list(model.parameters()))

    recipe = from_trl(trainer.args, reward_names=["first", "second"])
    now = resolve(recipe, 0.0, {})
    rows = Rows(**{**vars(rows_of(batch, rewards)), "old_logprobs": old, "reference_logprobs": away})
    nothing = torch.full((2,), NAN)
    state = now.weighting.init(torch.ones(1, 2), Setting(("first", "second"), nothing, nothing, nothing, nothing))
    weights, gain = now.weighting.weigh(state, rows)
    credit, _ = now.credit(rows, weights, gain, now.credit.init(1, 2))
    losses = TotalLoss(
        policy=Model(model),
        terms=now.losses,
        credit=credit,
        token_weights=now.reduce(rows, credit),
        preferences=channel_preferences(weights, credit),
        needs=recipe.needs,
        couples=recipe.couples,
    )
    assert Need.REFERENCE in recipe.needs
    loss = losses(rows).sum()
    assert_close(loss, theirs, atol=1e-5, rtol=0)
    assert max(g.abs().max() for g in expected) > 1e-2
    for ours, trl in zip(torch.autograd.grad(loss, list(model.parameters())), expected):
        assert_close(ours, trl, atol=1e-5, rtol=0)


def trl_correction(trainer, **values) -> torch.Tensor:
    """Return the importance ratio that TRL's own lines compute; they stand inside a method that samples with vLLM."""
    source = textwrap.dedent(inspect.getsource(type(trainer)._generate_and_score_completions))
    blocks = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If) and any("torch.exp" in ast.unparse(line) for line in node.body)
    ]
    [block] = [node for node in blocks if "vllm_importance_sampling_correction" in ast.unparse(node.test)]
    here = {"self": trainer, "torch": torch, "math": math, "tool_mask": None, **values}
    exec(compile(ast.Module([block], []), "trl", "exec"), here)
    return here["vllm_importance_sampling_ratio"]


MODES = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


@pytest.mark.parametrize(("low", "high"), [(None, 2.0), (0.5, 1.5), (0.7, None)])
@pytest.mark.parametrize("mode", MODES)
def test_the_correction_of_another_engines_samples(trl_says, tmp_path: Path, mode: str, low, high) -> None:
    rewards = some_rewards(8)
    said = trl_says(tmp_path, rewards, max_steps=10, loss_type="dapo")
    trainer, model, generator = said.trainer, said.trainer.model, torch.Generator().manual_seed(11)
    bounds = {"vllm_importance_sampling_clip_min": low, "vllm_importance_sampling_clip_max": high}
    for name, value in (bounds | {"use_vllm": True, "vllm_importance_sampling_mode": mode}).items():
        setattr(trainer, name, value)
        setattr(trainer.args, name, value)
    old = said.batch["ref_per_token_logps"]
    engine = old + 0.4 * torch.randn(old.shape, generator=generator)
    engine[3, 0] = NAN  # what vLLM could not say
    mask = said.batch["completion_mask"]
    ratio = trl_correction(trainer, completion_mask=mask, old_per_token_logps=old, sampling_per_token_logps=engine)
    batch = said.batch | {"old_per_token_logps": old, "importance_sampling_ratio": ratio}
    theirs = trainer.compute_loss(model, batch)
    expected = torch.autograd.grad(theirs, list(model.parameters()))

    recipe = from_trl(trainer.args, reward_names=["first", "second"])
    assert Need.OLD in recipe.needs
    rows = Rows(**{**vars(rows_of(batch, rewards)), "old_logprobs": old, "behaviour_logprobs": engine})
    rows = replace(rows, reference_logprobs=old)
    correction = recipe.losses["policy"].correction
    weights = correction(rows)
    assert_close(weights.expand(mask.shape)[rows.train_mask], ratio.expand(mask.shape)[rows.train_mask])
    assert (weights != weights.clamp(0.999, 1.001)).any() and ratio.shape == weights.shape
    credit = credit_of(trl_sum_then_normalize(), rows)
    outputs = Outputs(logprobs_of(model, rows))
    per_token = sum(loss(outputs, rows, credit) for loss in recipe.losses.values())
    loss = (per_token[..., 0] * token_mean(rows, credit)).sum()
    assert_close(loss, theirs, atol=1e-5, rtol=0)
    assert max(g.abs().max() for g in expected) > 1e-2
    for ours, trl in zip(torch.autograd.grad(loss, list(model.parameters())), expected):
        assert_close(ours, trl, atol=1e-5, rtol=0)
