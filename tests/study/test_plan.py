"""What a plan says: sizes by hand, times by hand at given rates, and both beside a real run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from moalign import Study, recipes
from moalign.errors import ConfigError
from moalign.study import _time
from moalign.study._sizes import _training, fitting, memory, waves
from moalign.study._time import Rates, measured, seconds
from moalign.study._work import Work, counted, work_of

Make = Callable[..., Study]


@pytest.fixture
def work(tiny_study: Make) -> Work:
    return replace(work_of(tiny_study()), device="cpu")


def test_what_is_counted_is_exact(work: Work) -> None:
    # embeddings and head 2 · 18 · 16, attention 4 · 16 · 16, feed-forward 3 · 16 · 32, norms 3 · 16
    assert work.parameters == 576 + 1024 + 1536 + 48
    # rank 8 on four layers of 16 + 16 and three of 16 + 32
    assert work.trained == 8 * (4 * 32 + 3 * 48)
    assert work.cache == 2 * 1 * 16 * 4  # keys and values, a layer, the hidden size, bytes
    assert (work.rows, work.prompt, work.mean, work.channels, work.scorings) == (8, 6, 4.0, 1, 0)


def test_a_loaded_model_has_as_many_parameters(work: Work, tiny_model: str, tiny_study: Make) -> None:
    loaded = LlamaForCausalLM.from_pretrained(tiny_model)
    assert work.parameters == sum(p.numel() for p in loaded.parameters())
    assert work_of(tiny_study(model=loaded)).key == work.key


def test_shared_keys_and_tied_words_are_counted_once() -> None:
    options = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    config = LlamaConfig(**options, num_attention_heads=4, num_key_value_heads=1, tie_word_embeddings=True)
    parameters, adapted = counted(config.to_json_string(use_diff=False), LlamaConfig, None)
    # words 80; per layer q, o 64 each, k, v 16 each, feed-forward 3 · 96, norms 16; the last norm 8
    assert parameters == 80 + 2 * (2 * 64 + 2 * 16 + 3 * 96 + 16) + 8
    assert adapted == 2 * (2 * 16 + 2 * 10 + 3 * 20)


def test_lengths_have_the_mean_and_keep_the_limit(work: Work) -> None:
    for mean in (1.0, 2.0, 4.0, 6.5, 8.0):
        found = replace(work, mean=mean).lengths(100)
        assert found == sorted(found) and found[0] >= 1 and found[-1] <= 8
        assert sum(found) / 100 == pytest.approx(mean, abs=0.1)


def test_logits_of_a_large_vocabulary_are_never_held_whole(work: Work) -> None:
    small, large = (_training(replace(work, vocabulary=words)) for words in (1_000, 2**24))
    # all of them would be 8 rows · 8 tokens · 2^24 words · 4 bytes = 4 GiB; 2^26 at most are made at a time
    assert large - small <= 12 * 2**26 < 8 * 8 * 2**24 * 4


def test_waves_are_cut_as_the_policy_cuts_them(work: Work) -> None:
    assert waves(work, 5, 4, 3) == [60]
    assert waves(replace(work, sample_rows=24), 5, 4, 3) == [24, 24, 12]  # two prompts of three members, four times
    assert waves(replace(work, apart=True), 5, 4, 3) == [20, 20, 20]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "larger", [{"members": 30, "behaviours": 30}, {"limit": 64, "mean": 32.0}, {"prompts": 64}, {"parameters": 10**8}]
)
def test_more_takes_more(work: Work, larger: dict[str, int], device: str) -> None:
    small, large = replace(work, device=device), replace(work, device=device, **larger)
    assert memory(large) > memory(small)
    assert memory(small, held=7) == memory(small) + 7
    rates = Rates(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert "parameters" in larger or seconds(large, rates).total > seconds(small, rates).total


def test_what_saves_memory_takes_less(work: Work) -> None:
    large = replace(work, limit=256, mean=256.0, prompts=64, device="cuda")
    assert memory(replace(large, micro_rows=8)) < memory(large)
    assert memory(replace(large, micro_rows=8, sample_rows=24)) < memory(replace(large, micro_rows=8))
    deep = replace(large, layers=24, vocabulary=2, sampled=False, valued=(1, 1))
    assert memory(replace(deep, recompute=True)) < memory(deep) / 2


def test_the_members_that_fit_are_the_most_that_do(work: Work) -> None:
    def takes(members: int) -> int:
        return memory(replace(work, members=members, behaviours=members, mean=8.0))

    for room in (takes(1), takes(5), takes(100) + 1):
        many = fitting(work, room)
        assert takes(many) <= room < takes(many + 1)
    assert fitting(work, takes(1) - 1) == 0


def test_time_by_hand(work: Work) -> None:
    rates = Rates(read=1e-6, token=1e-2, row=1e-3, train=1e-1, score=1.0, update=10.0)
    whole = replace(work, mean=8.0, steps=5, members=2, behaviours=2, prompts=2, group=4, valued=(64, 65))
    # 2 members · 2 prompts · 6 tokens are read, then 7 more tokens of 16 rows that all stay after the first
    sampling = 2 * 2 * 6 * 1e-6 + 7 * (1e-2 + 16 * 1e-3)
    updating = 2 * 8 * 8 * 1e-1 + 10.0
    # two full batches and a rest of one prompt
    full, rest = 2 * 64 * 6 * 1e-6 + 7 * (1e-2 + 128e-3), 2 * 6 * 1e-6 + 7 * (1e-2 + 2e-3)
    took = seconds(whole, rates)
    assert took.sampling == pytest.approx(5 * sampling)
    assert took.updating == pytest.approx(5 * updating)
    assert took.valuing == pytest.approx(2 * full + rest)
    assert took.total == pytest.approx(5 * (sampling + updating) + 2 * full + rest)
    more = replace(whole, passes=3, scorings=2)
    assert seconds(more, rates).updating == pytest.approx(5 * (3 * updating + 2 * 128 * 1.0))
    assert seconds(replace(whole, sampled=False), rates).sampling == 0.0


def test_rows_leave_as_they_end(work: Work) -> None:
    one = replace(work, members=1, behaviours=1, prompts=1, group=4, mean=4.0, limit=8, steps=1)
    assert one.lengths(4) == [2, 3, 5, 6]
    # rows that go on after the first token: 4, then 3, 2, 2, 1
    assert seconds(one, Rates(0.0, 0.0, 1.0, 0.0, 0.0, 0.0)).sampling == 12.0


def test_layers_follow_from_two(work: Work) -> None:
    one, two = Rates(1.0, 2.0, 0.0, 1.0, 1.0, 1.0), Rates(1.5, 3.0, 0.0, 2.0, 1.0, 1.0)
    assert one.along(two, 9.0) == Rates(5.5, 11.0, 0.0, 10.0, 1.0, 1.0)


def test_measuring_waits_until_time_is_asked_for(tiny_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def stub(work: Work, layers: int) -> Rates:
        asked.append(layers)
        return Rates(0.0, 0.0, 0.0, 0.0, 0.0, 20.0)

    monkeypatch.setattr(_time, "_of_layers", stub)
    _time._measured.cache_clear()
    plan = tiny_study().check()
    assert plan.memory_bytes > plan.held and plan.disk_bytes > 0 and not asked
    assert plan.seconds.total == 3 * 20.0 and "time    about 1.0 min" in str(plan)
    assert tiny_study(eval_prompts=5).check().seconds.updating == 60.0 and asked == [1]  # the same layers: once
    _time._measured.cache_clear()


def test_the_text_names_what_was_assumed(tiny_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_time, "measured", lambda work: Rates(*[0.0] * 6))
    text = str(tiny_study().check(mean_length=5))
    assert "3 members × 3 steps: 72 completions to train on, 48 to value them" in text
    assert "an average completion takes 5 of 8 tokens" in text and "the rewards' own time comes on top" in text
    for wrong in (0, 9):
        with pytest.raises(ConfigError, match="`mean_length` must be from 1 to `max_completion_length`, 8"):
            tiny_study().check(mean_length=wrong)


def test_completions_in_the_data_are_not_sampled(tiny_study: Make) -> None:
    rows = [{"prompt": f"{a}+1=", "chosen": str(a + 1), "rejected": "7"} for a in range(10, 90)]
    recipe = recipes.modpo(steps=3, prompts_per_step=2, max_completion_length=8)
    plan = tiny_study(train_dataset=rows, recipe=recipe).check()
    assert not plan.work.sampled and plan.work.group == 2


def test_beside_a_real_run(tiny_study: Make, runs: Path) -> None:
    recipe = recipes.gdpo(steps=3, prompts_per_step=8, max_completion_length=16, learning_rate=1e-2)
    study = tiny_study(recipe=recipe)
    study.run(runs / "tiny", on_step=lambda record: None)
    files = [file for file in (runs / "tiny").rglob("*") if file.is_file()]
    plan = study.check(mean_length=12)  # a model that knows nothing ends one token in 18
    assert plan.kept_bytes == pytest.approx(sum(file.stat().st_size for file in files), rel=0.3)
    assert min(plan.seconds.sampling, plan.seconds.updating, plan.seconds.valuing) > 0  # how near: benchmarks/plan.py


def test_the_study_s_own_adapters_are_timed(tiny_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Seen(_time.LoraMembers):
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append(options["target_modules"])
            super().__init__(*args, **options)

    monkeypatch.setattr(_time, "LoraMembers", Seen)
    measured(work_of(tiny_study(peft_config={"r": 3, "target_modules": ["q_proj"]})))
    assert set(made) == {("q_proj",)}
