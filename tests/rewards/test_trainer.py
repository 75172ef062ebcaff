"""Reward models trained from pairs and from scores, read back as rewards."""

import json
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.rewards import Scorer
from moalign.rewards.classifier import Classifier
from moalign.rewards.trainer import bradley_terry, pair_accuracy, squared_error, train_reward_model
from moalign.tasks._training import character_tokenizer

TEXTS = [(f"{a}+", f"{b}={c}") for a in range(4) for b in range(4) for c in range(4)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=18, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, tie_word_embeddings=True)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    character_tokenizer("0123456789+=: ").save_pretrained(path)
    return path


def test_bradley_terry_by_hand():
    # -log sigmoid(2 - 1) = log(1 + e^-1) = 0.313262; (2 + 1)^2 = 9
    chosen, rejected = torch.tensor([2.0]), torch.tensor([1.0])
    assert float(bradley_terry(chosen, rejected)) == pytest.approx(0.313262, abs=1e-6)
    assert float(bradley_terry(chosen, rejected, centre=0.1)) == pytest.approx(0.313262 + 0.9, abs=1e-6)


def test_squared_error_leaves_out_what_is_not_told():
    told = torch.tensor([[1.0, math.nan], [2.0, 4.0]])
    predicted = torch.tensor([[0.0, 9.0], [2.0, 1.0]], requires_grad=True)
    loss = squared_error(predicted, told)
    assert loss.item() == pytest.approx((1 + 0 + 9) / 3)
    loss.backward()
    assert predicted.grad is not None and predicted.grad[0, 1] == 0  # nor does NaN reach the gradient


def test_from_pairs_each_head_learns_its_own_wish(base, tmp_path):
    """The last digit decides: `high` wants it high, `low` wants it low."""
    pairs = [
        {"prompt": "1+", "chosen": f"2={better}", "rejected": f"2={worse}", "objective": name}
        for name, sign in (("high", 1), ("low", -1))
        for better in range(10)
        for worse in range(10)
        if sign * (better - worse) > 0
    ]
    options = {"steps": 40, "batch_size": 16, "learning_rate": 1e-2, "progress": False}
    to = train_reward_model(base, tmp_path / "rm", pairs=pairs, **options)
    accuracy = pair_accuracy(Classifier.load(to), pairs)
    assert accuracy.keys() == {"high", "low"} and min(accuracy.values()) > 0.95
    with Scorer([Objective("low", str(to)), Objective("high", str(to))]) as scorer:
        values = scorer.score(["1+"] * 2, ["2=9", "2=0"]).values
    assert values[0, 1] > values[1, 1] and values[0, 0] < values[1, 0]
    for name in ("low", "high"):  # standardised over what each head was trained on
        texts = [p[side] for p in pairs if p["objective"] == name for side in ("chosen", "rejected")]
        seen = torch.tensor(Classifier.load(to)(["1+"] * len(texts), texts)[name])
        assert float(seen.mean()) == pytest.approx(0.0, abs=1e-3)
        assert float(seen.std(correction=0)) == pytest.approx(1.0, abs=1e-3)


def test_from_scores_heads_answer_in_the_unit_they_were_told(base, tmp_path):
    scores = [{"prompt": p, "completion": c, "scores": {"last": 100 + 10.0 * int(c[-1])}} for p, c in TEXTS]
    for row in scores[::3]:
        row["scores"]["first"] = -float(row["prompt"][0])  # told for a third of the rows
    to = train_reward_model(
        base, tmp_path / "rm", scores=scores, steps=80, batch_size=16, learning_rate=1e-2, progress=False
    )
    prompts, completions = [p for p, _ in TEXTS], [c for _, c in TEXTS]
    values = Classifier.load(to)(prompts, completions)
    last = torch.tensor(values["last"]) - torch.tensor([100 + 10.0 * int(c[-1]) for c in completions])
    first = torch.tensor(values["first"]) + torch.tensor([float(p[0]) for p in prompts])
    assert last.abs().mean() < 2.5 and first.abs().mean() < 0.4  # of spreads of 11 and 1.1
    told = json.loads((to / "heads.json").read_text())
    std = math.sqrt((15**2 + 5**2) / 2)  # of 100, 110, 120 and 130, around 115
    assert told["last"] == pytest.approx({"mean": -115 / std, "std": 1 / std})


def test_a_seed_is_a_model_and_the_callers_random_numbers_are_left_alone(base, tmp_path):
    pairs = [{"prompt": "1+", "chosen": "2=3", "rejected": "2=4"}]

    def trained(name, seed):
        torch.manual_seed(5)
        to = train_reward_model(base, tmp_path / name, pairs=pairs, steps=2, batch_size=2, seed=seed, progress=False)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(5))
        return Classifier.load(to, heads={})(["1+"], ["2=3"])

    assert trained("a", 0) == trained("b", 0) != trained("c", 1)
    assert pair_accuracy(lambda prompts, completions: [0.0], pairs) == {"score": 0.5}


def test_what_cannot_be_learnt_from_is_told(base, tmp_path):
    with pytest.raises(ConfigError, match="pass either `pairs` or `scores`"):
        train_reward_model(base, tmp_path / "rm")
    with pytest.raises(ConfigError, match="nothing to learn from"):
        train_reward_model(base, tmp_path / "rm", pairs=[])
    with pytest.raises(ConfigError, match="row 0 has no `rejected`; it has prompt, chosen"):
        train_reward_model(base, tmp_path / "rm", pairs=[{"prompt": "1", "chosen": "2"}])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="holds something; name a new one"):
        train_reward_model(base, tmp_path / "full", pairs=[{"prompt": "1", "chosen": "2", "rejected": "3"}])
