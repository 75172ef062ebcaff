"""One contract for every engine. vLLM is played by a module that reads adapters with PEFT and samples one by one."""

import importlib.machinery
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from moalign.errors import ConfigError, StudyError
from moalign.parts import spec
from moalign.policies import FullModel, LoraMembers
from moalign.policies.engines import VLLM, Engine, Transformers, engine_of
from moalign.records import START, Need, Requests, Samples, Stream

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's, of the fake

STREAM, PAD, END = Stream(0, 1, "rollout"), 0, 1
Make = Callable[..., LoraMembers]


# --- a vLLM of one file ------------------------------------------------------------------------------------------


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    n: int = 1
    ignore_eos: bool = False
    logprobs: int | None = None
    detokenize: bool = True


class LLM:
    """As vLLM: adapters are kept by number, what was read of a prompt by the adapter's name."""

    made: list["LLM"] = []  # noqa: RUF012

    def __init__(self, model: str, **options: Any):
        self.base = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, options["dtype"])).eval()
        self.options, self.awake, self.levels = options, True, []
        self.adapted: Any = None  # the base as PEFT sees it
        self.paths: dict[str, str] = {}  # by name
        self.calls: list[list[LoRARequest]] = []
        LLM.made.append(self)

    def sleep(self, level: int) -> None:
        assert self.options["enable_sleep_mode"] and self.awake
        self.awake = False
        self.levels.append(level)

    def wake_up(self) -> None:
        assert not self.awake
        self.awake = True

    @torch.no_grad()
    def generate(self, prompts: Any, sampling: Any, *, lora_request: Any, use_tqdm: bool) -> list[Any]:
        assert self.awake and not use_tqdm and len(prompts) == len(sampling) == len(lora_request)
        self.calls.append(lora_request)
        return [SimpleNamespace(outputs=[self.complete(*each)]) for each in zip(prompts, sampling, lora_request)]

    def complete(self, prompt: Any, asked: SamplingParams, adapter: LoRARequest) -> Any:
        assert asked.n == 1 and asked.ignore_eos and asked.logprobs == 0
        assert self.options["logprobs_mode"] == "processed_logprobs" and self.options["enable_lora"]
        assert self.paths.setdefault(adapter.lora_name, adapter.lora_path) == adapter.lora_path
        self.load(adapter)
        generator = torch.Generator().manual_seed(asked.seed)
        ids, said, logprobs = list(prompt["prompt_token_ids"]), [], []
        while len(said) < asked.max_tokens and not (said and said[-1] in asked.stop_token_ids):
            logits = self.adapted(input_ids=torch.tensor([ids + said])).logits[0, -1].float()
            scores = (logits / (asked.temperature or 1.0)).log_softmax(-1)
            noise = torch.empty_like(scores).exponential_(generator=generator)
            said.append(int((scores if asked.temperature == 0 else scores.exp() / noise).argmax()))
            logprobs.append({said[-1]: SimpleNamespace(logprob=float(scores[said[-1]]))})
        return SimpleNamespace(token_ids=tuple(said), logprobs=logprobs)

    def load(self, adapter: LoRARequest) -> None:
        name = str(adapter.lora_int_id)
        if self.adapted is None:
            self.adapted = PeftModel.from_pretrained(self.base, adapter.lora_path, adapter_name=name)
        elif name not in self.adapted.peft_config:  # one that is known is not read again
            self.adapted.load_adapter(adapter.lora_path, adapter_name=name)
        assert self.adapted.peft_config[name].r <= self.options["max_lora_rank"]
        self.adapted.set_adapter(name)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Put the fake where `import vllm` finds it, and return the class that remembers what was made."""
    whole, lora = ModuleType("vllm"), ModuleType("vllm.lora.request")
    whole.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    whole.LLM, whole.SamplingParams, lora.LoRARequest = LLM, SamplingParams, LoRARequest  # pyright: ignore
    for module in (whole, lora):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "made", [])
    return LLM


@pytest.fixture
def saved(model: PreTrainedModel, tmp_path: Path) -> PreTrainedModel:
    """Return the model, known by the place it was saved to."""
    model.save_pretrained(tmp_path / "base")
    model.name_or_path = str(tmp_path / "base")
    return model


@pytest.fixture(params=["transformers", "vllm"])
def make(request: pytest.FixtureRequest, lora: Make, vllm: type[LLM], saved: PreTrainedModel) -> Make:
    """Build members who are sampled by each of the engines."""
    return lambda *names, **options: lora(*names, engine=engine_of(request.param), **options)


def picked(samples: Samples, rows: slice) -> Samples:
    return Samples(*(getattr(samples, name)[rows] for name in ("tokens", "completion_mask", "logprobs", "finished")))


# --- the contract ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_contract(make: Make, ask, rows_of, temperature: float) -> None:
    policy, requests = make("a", "b"), ask(0, 1, temperature=temperature)
    samples = policy.sample(requests, stream=STREAM)
    rows, limit = len(requests.member) * requests.n, requests.max_new_tokens
    assert samples.tokens.shape == samples.logprobs.shape == samples.completion_mask.shape == (rows, limit)
    assert samples.tokens.dtype == torch.long and samples.finished.shape == (rows,)

    # right-padded: a row is its tokens, up to and with the first end token
    lengths = samples.completion_mask.sum(1)
    assert torch.equal(samples.completion_mask, torch.arange(limit) < lengths[:, None])
    assert (samples.tokens[~samples.completion_mask] == PAD).all()
    assert (samples.logprobs[~samples.completion_mask] == 0).all()
    ends = (samples.tokens == END) & samples.completion_mask
    assert torch.equal(ends.sum(1).bool(), samples.finished)
    assert (ends.float().argmax(1) + 1 == lengths)[samples.finished].all()
    assert (lengths == limit)[~samples.finished].all()
    assert 0 < int(samples.finished.sum()) < rows  # both kinds were seen

    # the policy's own log-probabilities at that temperature, so the prompts were read as they stand, without padding
    scored = policy.forward(rows_of(requests, samples, 2), frozenset({Need.LOGPROBS})).logprobs
    assert_close(scored, samples.logprobs, atol=1e-5, rtol=0)


def test_rows_are_request_major(make: Make, ask) -> None:
    policy = make("a", "b")
    both = ask(0, 1, n=2, temperature=0.0)
    samples = policy.sample(both, stream=STREAM)
    for i in range(4):  # greedy copies are one, and the same as that request's alone
        index = torch.tensor([i])
        names = ("member", "prompt_tokens", "prompt_mask", "temperature")
        one = replace(both, n=1, **{name: getattr(both, name)[index] for name in names})
        alone = policy.sample(one, stream=STREAM)
        for j in (2 * i, 2 * i + 1):
            assert torch.equal(samples.tokens[j], alone.tokens[0])
    assert len({tuple(row) for row in samples.tokens.tolist()}) > 2


def test_greedy_is_the_likeliest_and_scored_at_one(make: Make, ask, rows_of) -> None:
    policy, requests = make("a"), ask(0, n=1, temperature=0.0)
    samples = policy.sample(requests, stream=STREAM)
    rows = replace(rows_of(requests, samples, 1), temperature=torch.ones(2))
    assert_close(policy.forward(rows, frozenset({Need.LOGPROBS})).logprobs, samples.logprobs, atol=1e-5, rtol=0)
    assert torch.equal(samples.tokens, policy.sample(requests, stream=Stream(5, 5, "eval")).tokens)
    mixed = policy.sample(replace(requests, temperature=torch.tensor([0.0, 1.0])), stream=STREAM)
    assert torch.equal(mixed.tokens[0], samples.tokens[0])


def test_a_members_tokens_do_not_depend_on_its_company(make: Make, ask) -> None:
    policy = make("a", "b", "c")
    together = policy.sample(ask(0, 1, 2), stream=STREAM)
    alone = policy.sample(ask(1), stream=STREAM)
    assert torch.equal(alone.tokens, together.tokens[6:12])
    policy.gather([2, 0, 1], ["c", "a", "b"])
    reordered = policy.sample(ask(0, 1, 2), stream=STREAM)
    assert torch.equal(reordered.tokens, torch.cat([together.tokens[12:], together.tokens[:12]]))
    assert not torch.equal(policy.sample(ask(0, 1, 2), stream=Stream(0, 2, "rollout")).tokens, reordered.tokens)
    assert len({tuple(row) for row in together.tokens.tolist()}) > 9  # neither members nor copies share their numbers


def test_members_are_who_they_are_now(make: Make, ask) -> None:
    policy = make("a", "b")
    greedy = ask(0, 1, n=1, temperature=0.0)
    before = policy.sample(greedy, stream=STREAM)
    for stacked in policy.parameters().values():
        stacked.tensor.data[1] *= -1.5  # in place, as updates do; B·A of the second member is another one
        stacked.tensor.data[1, 0] += 1.0
    after = policy.sample(greedy, stream=STREAM)
    assert torch.equal(after.tokens[:2], before.tokens[:2])
    assert not torch.equal(after.logprobs[2:], before.logprobs[2:])
    assert not torch.equal(picked(after, slice(0, 2)).tokens, picked(after, slice(2, 4)).tokens)


def test_at_another_moment(make: Make, ask, rows_of) -> None:
    policy = make("a", "b")
    then, requests = policy.snapshot(), ask(0, 1, n=1)
    for stacked in policy.parameters().values():
        stacked.tensor.data += 0.3
    for at in (then, START):
        samples = policy.sample(requests, stream=STREAM, at=at)
        scored = policy.forward(rows_of(requests, samples, 2), frozenset({Need.LOGPROBS}), at=at).logprobs
        assert_close(scored, samples.logprobs, atol=1e-5, rtol=0)


# --- what is vLLM's own ------------------------------------------------------------------------------------------


def numbers(llm: LLM) -> list[list[int]]:
    """Return each call's adapters, in order of appearance."""
    return [list(dict.fromkeys(request.lora_int_id for request in call)) for call in llm.calls]


def test_one_adapter_per_member_and_a_new_one_after_a_change(lora: Make, ask, vllm, saved) -> None:
    policy = lora("a", "b", engine=VLLM())
    policy.sample(ask(0, 1), stream=STREAM)
    policy.sample(ask(1, n=1), stream=STREAM)
    policy.parameters()[next(iter(policy.parameters()))].tensor.data[0] += 0.1
    policy.sample(ask(0, 1), stream=STREAM)
    policy.gather([1, 1], ["b", "c"])
    policy.sample(ask(0, 1), stream=STREAM)
    [llm] = vllm.made
    assert numbers(llm) == [[1, 2], [2], [3, 2], [2, 4]]
    assert [request.lora_int_id for request in llm.calls[0]] == [1] * 6 + [2] * 6
    names = {request.lora_int_id: request.lora_name for call in llm.calls for request in call}
    assert len(set(names.values())) == 4  # vLLM keeps prompts by the adapter's name
    paths = {request.lora_int_id: Path(request.lora_path) for call in llm.calls for request in call}
    assert [n for n, path in sorted(paths.items()) if path.is_dir()] == [2, 4]  # what is used no more is gone


def test_it_sleeps_while_others_work(lora: Make, ask, vllm, saved) -> None:
    policy = lora("a", "b", engine=VLLM(gpu_memory_utilization=0.5, max_model_len=32, options={"enforce_eager": True}))
    policy.sample(ask(0), stream=STREAM)
    [llm] = vllm.made
    assert not llm.awake and set(llm.levels) == {1}
    wanted = {"max_lora_rank": 8, "max_loras": 2, "dtype": "float32", "gpu_memory_utilization": 0.5}
    assert wanted | {"max_model_len": 32, "enforce_eager": True} == {
        name: llm.options[name] for name in (*wanted, "max_model_len", "enforce_eager")
    }
    up = lora("a", engine=VLLM(sleep=False))
    up.sample(ask(0), stream=STREAM)
    assert vllm.made[1].awake and not vllm.made[1].levels


def test_soups_of_a_larger_rank_are_sampled_by_transformers(lora: Make, ask, vllm, saved, caplog) -> None:
    policy = lora("a", "b", "c", engine=VLLM())
    policy.sample(ask(0, n=1), stream=STREAM)
    soup = policy.mix(torch.full((1, 3), 1 / 3), ["soup"])
    with caplog.at_level(logging.WARNING, "moalign"):
        samples = [soup.sample(ask(0), stream=STREAM) for _ in range(2)]
    assert caplog.text.count("rank 9 is above vLLM's `max_lora_rank` 8") == 1
    soup.engine = Transformers()
    assert torch.equal(samples[0].tokens, soup.sample(ask(0), stream=STREAM).tokens)
    [llm] = vllm.made
    assert len(llm.calls) == 1
    roomy = lora("a", "b", "c", engine=VLLM(max_lora_rank=16))
    roomy.mix(torch.full((1, 3), 1 / 3), ["soup"]).sample(ask(0, n=1), stream=STREAM)
    assert len(vllm.made[1].calls) == 1


def test_what_it_cannot_do_is_refused(lora: Make, ask, vllm, saved, model) -> None:
    whole = FullModel(model, members=["a"], pad_id=PAD, eos_ids=(END,), engine=VLLM())
    with pytest.raises(ConfigError, match="engine='transformers'"):
        whole.sample(ask(0), stream=STREAM)
    for wrong in (0.001, 2.5):
        with pytest.raises(ConfigError, match=r"`temperature` must be 0 or in \[0.01, 2.0\]"):
            lora("a", engine=VLLM()).sample(ask(0, temperature=wrong), stream=STREAM)
    with pytest.raises(ConfigError, match="`max_lora_rank` must be one of"):
        VLLM(max_lora_rank=9)
    with pytest.raises(ConfigError, match="`gpu_memory_utilization`"):
        VLLM(gpu_memory_utilization=40.0)
    saved.name_or_path = ""
    with pytest.raises(ConfigError, match="give `model` as a path"):
        lora("a", engine=VLLM()).sample(ask(0), stream=STREAM)
    assert not vllm.made


def test_without_the_library(lora: Make, ask, saved, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"pip install 'moalign\[vllm\]'"):
        lora("a", engine=VLLM()).sample(ask(0), stream=STREAM)


# --- a study's engine --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting:
    """An engine of a user's own, which satisfies the protocol without inheriting anything."""

    calls: list[int] = field(default_factory=list, compare=False)

    def generate(self, policy: Any, requests: Requests, *, stream: Stream, at: Any = None) -> Samples:
        self.calls.append(len(requests.member))
        return Transformers().generate(policy, requests, stream=stream, at=at)


def test_an_engine_is_a_name_or_an_object() -> None:
    assert engine_of("vllm") == VLLM() and isinstance(engine_of(VLLM), Engine)
    own = Counting()
    assert engine_of(own) is own
    assert spec(VLLM(max_model_len=9))["max_model_len"] == 9
    with pytest.raises(ConfigError, match="did you mean transformers"):
        engine_of("transformer")
    for wrong in (None, 3, object()):
        with pytest.raises(ConfigError, match="a name or an object with `generate`"):
            engine_of(wrong)


def test_a_study_is_refused_without_what_its_engine_needs(tiny_study, monkeypatch) -> None:
    monkeypatch.setattr("moalign.policies.engines.vllm.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"`engine`: vLLM is not installed; `pip install 'moalign\[vllm\]'`") as caught:
        tiny_study(engine="vllm").check()
    assert len(caught.value.problems) == 1
    with pytest.raises(StudyError, match="`engine`: no engine is called `vlm`; did you mean vllm"):
        tiny_study(engine="vlm").check()


def test_vllm_wants_adapters_a_place_and_one_process(tiny_study, vllm, monkeypatch) -> None:
    tiny_study(engine="vllm").check()
    with pytest.raises(StudyError, match="a full model has none"):
        tiny_study(engine="vllm", peft_config="full", members=1).check()
    base = AutoModelForCausalLM.from_pretrained(tiny_study().model)
    with pytest.raises(StudyError, match="give `model` as a path or a hub id"):
        tiny_study(engine="vllm", model=base).check()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert any("one process" in problem for problem in VLLM().problems(tiny_study()))


def test_a_study_trains_with_it(tiny_study, runs: Path, vllm, caplog) -> None:
    seen: list[dict[str, Any]] = []
    small = {"recipe.max_completion_length": 4, "recipe.prompts_per_step": 1, "members": 2, "eval_prompts": 2}
    corrected = tiny_study().replace(**{"recipe.correction": "truncated", "engine": "vllm"} | small)
    with caplog.at_level(logging.WARNING, "moalign"):
        corrected.run(runs / "vllm", on_step=seen.append)
    assert "off-policy" not in caplog.text
    [llm] = vllm.made
    first, second, third = (set(call) for call in numbers(llm)[:3])
    assert first == {1, 2} and max(second) > 2 and max(third) > max(second)  # who was updated has a new adapter
    steps = [record for record in seen if "gain" in record]  # the others tell of valuation
    assert len(steps) == 3
    for step in steps:
        assert max(step["sampling/sampling_logp_difference/max"]) < 1e-4  # the fake is exact
        assert step["sampling/importance_sampling_ratio/mean"] == pytest.approx([1.0] * 2, abs=1e-4)


def test_an_uncorrected_study_is_told(tiny_study, runs: Path, caplog) -> None:
    own = Counting()
    with caplog.at_level(logging.WARNING, "moalign"):
        front = tiny_study(engine=own).run(runs / "own", on_step=lambda record: None)
    assert "has no `correction`" in caplog.text and own.calls[0] == 6  # 3 members, 2 prompts
    plain = tiny_study().run(runs / "plain", on_step=lambda record: None)
    assert [point.values for point in front] == [point.values for point in plain]
