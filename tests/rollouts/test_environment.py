import logging
from dataclasses import replace

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import tensor
from transformers import PreTrainedTokenizerFast

from moalign.data import load_prompts
from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.records import Rows
from moalign.rewards import Scorer, exact_number, token_count
from moalign.rollouts.environment import TextEnvironment

PROMPTS = [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(8)]


@pytest.fixture(scope="module")
def tokenizer():
    vocab = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *"0123456789+="])}  # "0" is 3
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


CORRECT = Objective("correct", exact_number(), bounds=(0, 1), threshold=1)
TOKENS = Objective("tokens", token_count, maximize=False, bounds=(0, 16))


@pytest.fixture
def make(tokenizer):
    scorers = []

    def make(objectives=(CORRECT, TOKENS), rows=PROMPTS, **options):
        scorers.append(Scorer(objectives))
        options = {"seed": 0, "max_completion_length": 16, **options}
        data = load_prompts(rows, tokenizer=tokenizer)
        return TextEnvironment(data, tokenizer, scorers[-1], tuple(objectives), **options)

    yield make
    for scorer in scorers:
        scorer.close()


def rows_of(env, texts, *, keep=None, index=None):
    """One row per text, answering prompt i of the data with text i."""
    samples = env.encode(texts)
    n = len(texts)
    prompts = env.data.rows(index or range(n))
    return Rows(
        members=1, member=torch.zeros(n, dtype=torch.long), prompt_id=tensor(prompts.ids), group=torch.arange(n),
        prompt_tokens=torch.ones(n, 1, dtype=torch.long), prompt_mask=torch.ones(n, 1, dtype=torch.bool),
        tokens=samples.tokens, completion_mask=samples.completion_mask, train_mask=samples.completion_mask,
        keep=torch.ones(n, dtype=torch.bool) if keep is None else tensor(keep), temperature=torch.ones(n),
        index=torch.arange(n), columns={name: list(column) for name, column in prompts.columns.items()},
    )  # fmt: skip


def test_every_prompt_comes_once_per_epoch_across_steps(make):
    env = make()
    drawn = torch.cat([env.at(step).prompts(3).prompt_id for step in range(8)])  # 24 = three epochs of 8
    for epoch in drawn.view(3, 8):
        assert sorted(epoch.tolist()) == list(range(8))
    assert drawn[:8].tolist() != drawn[8:16].tolist() != drawn[16:].tolist()


def test_a_draw_is_a_function_of_seed_purpose_step_and_round(make):
    env = make()
    ids = env.at(5).prompts(4).prompt_id.tolist()
    assert make().at(5).prompts(4).prompt_id.tolist() == ids
    others = [make(seed=1).at(5).prompts(4), make(purpose="eval").at(5).prompts(4), env.at(5).prompts(4, round=1)]
    assert all(other.prompt_id.tolist() != ids for other in others)
    assert len(env.prompts(20)) == 20 and len(env.prompts(0)) == 0


def test_prompts_carry_tokens_and_columns(make):
    prompts = make().all()
    assert prompts.prompt_id.tolist()[:2] == [0, 1] and list(prompts.columns["answer"])[:2] == ["1", "2"]
    assert prompts.tokens.tolist()[:2] == [[3, 13, 4, 14], [4, 13, 4, 14]] and bool(prompts.mask.all())
    assert len(make().all()) == 8


def test_a_limit_takes_a_seeded_sample(make):
    some = [make(seed=seed).all(limit=4).prompt_id.tolist() for seed in range(6)]
    assert all(len(set(ids)) == 4 for ids in some)
    assert some[0] == make(seed=0).all(limit=4).prompt_id.tolist()
    assert len({tuple(ids) for ids in some}) > 1 and some[0] != [0, 1, 2, 3]


def test_streams_are_keyed_by_the_step(make):
    env = make().at(3)
    assert (env.stream("rollout", 2).step, env.stream("rollout", 2).round, env.step) == (3, 2, 3)


def test_encode_ends_and_pads_on_the_right(make):
    samples = make(max_completion_length=3).encode(["1", "12", "1234", "1<eos>"])
    assert samples.tokens.tolist() == [[4, 1, 0], [4, 5, 1], [4, 5, 6], [4, 1, 0]]
    assert samples.completion_mask.sum(1).tolist() == [2, 3, 3, 2]
    assert samples.finished.tolist() == [True, True, False, True]
    assert samples.logprobs.shape == (4, 3) and not samples.logprobs.any()


def test_decode_is_what_rewards_see(make):
    env = make()
    lists = [[4, 1], [4, 5, 6, 1, 0], []]
    assert env.decode(lists) == ["1", "123", ""]  # neither end nor padding
    assert (
        env.decode(env.encode(["1", "22"]).tokens.tolist())
        == env.score(rows_of(env, ["1", "22"])).columns["completion"]
    )


def test_examples_come_from_pairs_or_completions(make):
    pair = {"chosen": "2", "rejected": [{"role": "assistant", "content": "3"}]}
    examples = make(rows=[{**row, **pair} for row in PROMPTS]).examples(2, ["chosen", "rejected"])
    assert examples.completions == [["2", "3"]] * 2 and len(examples.prompts) == 2
    assert make(rows=[{**row, "completion": "2"} for row in PROMPTS]).examples(1, ["completion"]).completions == [["2"]]
    with pytest.raises(ConfigError, match="no column `completion`; it has prompt, answer"):
        make().examples(1, ["completion"])


def test_scores_are_larger_is_better_with_the_text_beside_them(make):
    env = make()
    rows = env.score(rows_of(env, ["1", "22", "9"]))
    assert rows.rewards.names == ("correct", "tokens")
    assert rows.rewards.values.tolist() == [[1, -2], [0, -3], [0, -2]]  # two digits and an end token cost 3
    assert rows.rewards.ideal.tolist() == [1, 0] and rows.rewards.nadir.tolist() == [0, -16]
    assert rows.columns["completion"] == ["1", "22", "9"] and rows.columns["prompt"][1] == "1+1="


def test_rows_that_are_not_kept_are_not_scored(make):
    seen = []

    def reward(completions, log_extra):
        seen.extend(completions)
        log_extra("length", [len(c) for c in completions])
        return [1.0] * len(completions)

    env = make([Objective("a", reward)])
    rows = env.score(rows_of(env, ["1", "22", "333"], keep=[True, False, True]))
    assert seen == ["1", "333"] and rows.rewards.valid.tolist() == [[True], [False], [True]]
    assert rows.columns["completion"] == ["1", "", "333"] and rows.columns["length"] == [1, None, 3]


def test_rewards_see_their_rows_columns_and_the_step(make):
    def reward(prompts, answer, completion_ids, trainer_state):
        assert (trainer_state.global_step, trainer_state.max_steps) == (4, 9)
        assert prompts == ["5+1=", "2+1="] and completion_ids == [[4, 1], [5, 1]]
        return [float(a) for a in answer]

    env = make([Objective("a", reward)], steps=9).at(4)
    assert env.score(rows_of(env, ["1", "2"], index=[5, 2])).rewards.values.tolist() == [[6.0], [3.0]]


def test_gates_are_applied_in_the_objectives_own_sign(make):
    env = make([CORRECT, replace(TOKENS, after="correct")])
    rewards = env.score(rows_of(env, ["1", "3"])).rewards
    assert rewards.values.tolist() == [[1, -2], [0, -16]]  # a wrong answer costs the most, however short


def test_tracked_objectives_stay_out_of_training_rewards(make):
    env = make([CORRECT, replace(TOKENS, optimize=False)])
    rows = rows_of(env, ["1", "3"])
    assert env.names == env.score(rows).rewards.names == ("correct",)
    everything = replace(env, tracked=True)
    assert everything.names == ("correct", "tokens")
    assert everything.score(rows).rewards.values.tolist() == [[1, -2], [0, -2]]


def test_missing_values_stay_missing_and_metrics_are_drained_once(make):
    env = make([Objective("a", lambda completions: [None, *[2.0] * (len(completions) - 1)])])
    rewards = env.at(1).score(rows_of(env, ["1", "2"])).rewards
    assert rewards.valid.tolist() == [[False], [True]] and rewards.values.tolist() == [[0.0], [2.0]]
    env.at(2).score(rows_of(env, ["1", "2", "3", "4", "5", "6"]))
    drained = env.drain()
    assert drained["valid_fraction/a"].item() == pytest.approx(6 / 8)  # 1 of 2, then 5 of 6
    assert drained["timeouts/a"].item() == 0.0 and env.drain() == {}


def test_a_constant_objective_is_told_once(make, caplog):
    env = make([CORRECT, Objective("flat", lambda completions: [0.5] * len(completions))])
    with caplog.at_level(logging.WARNING, "moalign"):
        for step in range(2):
            env.at(step).score(rows_of(env, ["1", "3"]))
    message = "objective `flat` gave the same value for all 2 completions; it teaches nothing"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_what_cannot_be_scored_is_told(make):
    env = make()
    with pytest.raises(ConfigError, match="no column `prompt`"):
        env.score(rows_of(env, ["1", "2"]).select(tensor([0])))
    with pytest.raises(ConfigError, match="the same objectives"):
        replace(env, objectives=(TOKENS, CORRECT))
    with pytest.raises(ConfigError, match="at least one prompt"):
        replace(env, data=env.data.rows([]))
