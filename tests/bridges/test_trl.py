"""TRL's trainer with our parts: TRL's own without them, GDPO with GDPO's, and controllers that move, log and resume."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.bridges.aggregator import Aggregator, credit_with
from moalign.credit import AtReward
from moalign.errors import ConfigError, UnknownNameError
from moalign.objectives import Objective
from moalign.optimizers.scalarizers import SmoothChebyshev
from moalign.weighting import GRPOLambda, Lagrangian, Scheduled

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

GROUP, ROWS, LONGEST = 4, 8, 6
NAN = float("nan")


def digits(completions: list[str], **columns: Any) -> list[float]:
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def tokens(completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
    """Length in tokens; does not apply to completions of one token."""
    return [float(len(ids)) if len(ids) > 1 else None for ids in completion_ids]


@pytest.fixture(scope="module")
def libraries() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer as Theirs

        from moalign.bridges.trl import GRPOTrainer

    return SimpleNamespace(Dataset=Dataset, Config=GRPOConfig, Theirs=Theirs, Ours=GRPOTrainer)


@pytest.fixture
def trainer(libraries: SimpleNamespace, tiny_model: str, tmp_path: Path):
    """Return a function that builds a trainer of two rewards, without a step taken."""
    from transformers import AutoTokenizer

    def build(ours: bool = True, config: dict[str, Any] | None = None, funcs: Any = (digits, tokens), **options: Any):
        settings: dict[str, Any] = {
            "output_dir": str(tmp_path / ("ours" if ours else "theirs")),
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": [],
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "per_device_train_batch_size": ROWS,
            "num_generations": GROUP,
            "max_completion_length": LONGEST,
            "max_steps": 2,
            "learning_rate": 0.05,
            "seed": 3,
        }
        made = (libraries.Ours if ours else libraries.Theirs)(
            model=tiny_model,
            reward_funcs=list(funcs),
            args=libraries.Config(**settings | (config or {})),
            train_dataset=libraries.Dataset.from_list(
                [{"prompt": f"{a}+{b}="} for a in (10, 25) for b in (3, 47, 58, 6)]
            ),
            processing_class=AutoTokenizer.from_pretrained(tiny_model, padding_side="left"),
            **options,
        )
        made.batches = []
        score = made._generate_and_score_completions

        def kept(inputs):
            made.batches.append(score(inputs))
            return made.batches[-1]

        made._generate_and_score_completions = kept
        return made

    return build


def trained(made: Any, **options: Any) -> Any:
    made.train(**options)
    return made


def logged(made: Any, name: str) -> list[float]:
    return [line[name] for line in made.state.log_history if name in line]


def advantages(made: Any) -> torch.Tensor:
    return torch.stack([batch["advantages"] for batch in made.batches])


def test_without_arguments_it_is_trls_own_to_the_last_bit(trainer) -> None:
    theirs, ours = trained(trainer(ours=False)), trained(trainer())
    assert torch.equal(advantages(ours), advantages(theirs)) and advantages(ours).any()
    timing = ("step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second")
    for a, b in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}
    assert logged(ours, "loss") and any(logged(ours, "loss"))
    for a, b in zip(ours.model.parameters(), theirs.model.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("aggregation", "parts"),
    [
        ("sum_then_normalize", {"objectives": [Objective("tokens")]}),
        ("normalize_then_sum", {"objectives": [Objective("tokens")]}),
        ("normalize_then_sum", {"collapse": "at-advantage", "rescaler": "batch-standardize"}),
        ("normalize_then_sum", {"credit": "gdpo-trl"}),
    ],
)
def test_the_parts_of_gdpo_and_grpo_are_trls_aggregations(trainer, aggregation: str, parts: dict[str, Any]) -> None:
    weights = {"reward_weights": [1.0, 0.3], "max_steps": 1}
    theirs = trained(trainer(ours=False, config=weights | {"multi_objective_aggregation": aggregation}))
    asked = {"multi_objective_aggregation": aggregation} if "objectives" in parts else {}
    ours = trained(trainer(config=weights | asked, **parts))
    assert_close(advantages(ours), advantages(theirs), atol=1e-5, rtol=0)
    assert advantages(ours).any()
    assert_close(logged(ours, "loss"), logged(theirs, "loss"), atol=1e-5, rtol=0)
    for name in ("reward", "reward_std", "rewards/digits/mean", "rewards/tokens/std"):
        assert_close(logged(ours, name), logged(theirs, name), atol=1e-5, rtol=1e-5)
    if aggregation == "sum_then_normalize":
        assert logged(ours, "frac_reward_zero_std") == logged(theirs, "frac_reward_zero_std")


def test_the_logged_table_has_the_advantages_that_train(trainer) -> None:
    made = trained(trainer(config={"max_steps": 1}, collapse="at-advantage"))
    assert_close(torch.tensor(list(made._logs["advantages"])), made.batches[0]["advantages"])
    assert [len(column) for column in made._logs["rewards"].values()] == [ROWS, ROWS]
    assert len(made._logs["advantages"]) == ROWS


def test_a_scalarizer_per_completion(trainer) -> None:
    """Chebyshev's regret to the ideal (1, 0): the largest of weight times distance."""
    objectives = {
        "digits": Objective("digits", bounds=(0, 1)),
        "tokens": Objective("tokens", maximize=False, bounds=(0, LONGEST)),
    }
    made = trainer(
        config={"scale_rewards": "none", "max_steps": 1, "reward_weights": [2.0, 0.5]},
        collapse=AtReward(SmoothChebyshev(mu=1e-4)),
        objectives=objectives,
    )
    trained(made)
    rewards = torch.tensor([list(made._logs["rewards"][name]) for name in ("digits", "tokens")]).T
    here = ~rewards.isnan().any(1)
    regret = torch.maximum(2.0 * (1 - rewards[:, 0]), 0.5 * rewards[:, 1])
    # where the length does not apply, all weight is on the digits
    regret = torch.where(here, regret, 2.5 * (1 - rewards[:, 0])).view(-1, GROUP)
    expected = (regret.mean(1, keepdim=True) - regret).flatten()
    assert_close(made.batches[0]["advantages"], expected, atol=1e-3, rtol=0)


def test_a_controllers_weights_move_and_are_logged(trainer) -> None:
    made = trained(trainer(config={"max_steps": 4}, weighting=Scheduled(to={"tokens": 1.0})))
    # progress after steps 1 to 4 is 0, 1/4, 1/2, 3/4; a step has the weights of the progress before it
    assert logged(made, "weights/tokens") == [0.5, 0.5, 0.625, 0.75]
    assert logged(made, "weights/digits") == [0.5, 0.5, 0.375, 0.25]


def test_a_threshold_pulls_the_weights(trainer) -> None:
    short = Objective("tokens", maximize=False, threshold=1, bounds=(0, LONGEST))
    made = trained(trainer(config={"max_steps": 3}, weighting="lagrangian", objectives=[short]))
    weights = logged(made, "weights/tokens")
    assert weights[0] == 0.0 and weights[1] > 0  # the wish is for digits alone; then the ceiling is seen to be missed
    assert (
        logged(made, "constraint/tokens/violated")[-1] == 1.0 and logged(made, "constraint/tokens/multiplier")[-1] > 0
    )
    utility = torch.tensor(logged(made, "reward"))
    # larger is better: a cost of some tokens, weighted, is negative
    assert utility[1] < logged(made, "rewards/digits/mean")[1] * (1 - weights[1])


def test_weights_that_differ_between_groups(trainer) -> None:
    made = trained(trainer(config={"max_steps": 1}, weighting=GRPOLambda(share=0.5, main="digits")))
    # one group of two has the preference (1/2, 1/2), the other the main objective alone
    assert logged(made, "weights/tokens") == [0.25] and logged(made, "weights/digits") == [0.75]


def test_an_evaluation_teaches_nothing(trainer, libraries: SimpleNamespace) -> None:
    made = trainer(
        config={"max_steps": 1, "per_device_eval_batch_size": GROUP},
        weighting=Lagrangian(),
        normalizer="running",
        objectives=[Objective("tokens", maximize=False, threshold=1)],
        eval_dataset=libraries.Dataset.from_list([{"prompt": "12+34="}]),
    )
    trained(made)
    before = json.dumps(_plain(made._aggregator.state))
    found = made.evaluate()
    assert json.dumps(_plain(made._aggregator.state)) == before
    assert found["eval_weights/tokens"] > 0 and "eval_loss" in found


def _plain(state: Any) -> Any:
    return {k: _plain(v) for k, v in state.items()} if isinstance(state, dict) else str(state.tolist())


def test_a_run_goes_on_with_the_controller_it_had(trainer, caplog: pytest.LogCaptureFixture) -> None:
    parts: dict[str, Any] = {
        "weighting": Lagrangian(),
        "normalizer": "running",
        "objectives": [Objective("tokens", maximize=False, threshold=1)],
    }
    saving = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    whole = trained(trainer(config=saving, **parts))
    resumed = trainer(config=saving, **parts)
    checkpoint = Path(whole.args.output_dir) / "checkpoint-2"
    trained(resumed, resume_from_checkpoint=str(checkpoint))
    for name in ("weights/tokens", "constraint/tokens/multiplier", "loss"):
        assert logged(resumed, name) == logged(whole, name), name  # the history is restored, the last entry is new
    assert len(logged(resumed, "weights/tokens")) == 3 and _plain(resumed._aggregator.state) == _plain(
        whole._aggregator.state
    )

    other = trainer(config={"max_steps": 3}, weighting=Lagrangian(), objectives=parts["objectives"])
    for file in sorted((checkpoint / "moalign").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    other._load_optimizer_and_scheduler(None)
    other.create_optimizer_and_scheduler(3)
    other._load_optimizer_and_scheduler(str(checkpoint))
    assert "begin anew" in caplog.text


def test_each_process_takes_its_own_rows(trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes: the gathered matrix has both halves, the batch only its own."""
    made = trainer(config={"max_steps": 1}, collapse="at-advantage")
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    first = torch.tensor([[0.1, 3.0], [0.2, 4.0], [NAN, 5.0], [NAN, NAN]] * 2)
    matrix = torch.cat([first, first.flip(0) * 2])
    monkeypatch.setattr(type(made).__mro__[1], "_calculate_rewards", lambda *a, **k: matrix)
    monkeypatch.setattr(type(made.accelerator), "process_index", 1)
    monkeypatch.setattr(made.accelerator, "gather", lambda x: x.repeat(2))
    batch = made._generate_and_score_completions([{"prompt": "10+3="}] * ROWS)
    alone = Aggregator(["digits", "tokens"], credit=credit_with("grpo-trl", {"collapse": "at-advantage"}), group=GROUP)
    expected = alone(matrix, torch.arange(16) // GROUP).advantages
    assert_close(batch["advantages"], expected[ROWS:])
    assert expected[3] == 0 and not torch.equal(expected[:ROWS], expected[ROWS:])
    assert list(made._logs["advantages"]) == pytest.approx(expected[-ROWS:].tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collapse": "at-gradient"}, "`collapse`: this trainer takes one advantage"),
        ({"credit": "gae"}, "`credit` must be a CreditPipeline"),
        ({"collapse": "at-advantag"}, "did you mean at-advantage"),
        ({"weighting": "hypervolume-gradient", "collapse": "at-advantage"}, "`weighting='hypervolume-gradient'`"),
        ({"objectives": {"lenght": Objective("lenght")}}, "`objectives` has no option `lenght`"),
        ({"objectives": {"digits": Objective("tokens")}}, "under the key 'digits'"),
        ({"objectives": [Objective("digits", digits)]}, "`reward` of objective `digits`"),
        ({"objectives": [Objective("digits", timeout=3)]}, "`timeout` of objective `digits`"),
        ({"objectives": [Objective("digits", after="tokens", bounds=(0, 1))]}, "`tokens` has no `threshold`"),
        (
            {"weighting": "reward-weights", "config": {"reward_weights": [1.0, 2.0]}},
            "=reward-weights does not read",
        ),
        ({"funcs": (digits, digits), "weighting": "constant"}, "two rewards are called `digits`"),
    ],
)
def test_what_does_not_fit_is_refused(trainer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(**options)


def test_an_untested_release_is_refused(trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    import moalign.bridges.trl as bridge

    monkeypatch.setattr(bridge.trl, "__version__", "1.17.0")
    with pytest.raises(ConfigError, match=r"tested with TRL 1\.16, not 1\.17\.0"):
        trainer()
    assert issubclass(UnknownNameError, ConfigError)
