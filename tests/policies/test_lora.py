"""LoRA members against PEFT, dense matrices and plain loops."""

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from moalign.errors import ConfigError, UnknownNameError
from moalign.policies import LoraMembers, load_adapter
from moalign.policies.adapters import target_layers
from moalign.policies.scoring import cuts
from moalign.records import START, Couples, Need, Policy, Snapshot, Stream

STREAM = Stream(0, 1, "rollout")
LOGPROBS = frozenset({Need.LOGPROBS})
PEFT = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21 reads it


@pytest.fixture
def batch(ask, rows_of):
    """Sample rows from these members of a policy, two prompts of three completions each."""

    def build(policy, *members: int, temperature: float = 1.0):
        requests = ask(*members, temperature=temperature)
        return rows_of(requests, policy.sample(requests, stream=STREAM), len(policy.members))

    return build


def plain_logprobs(model, rows):
    """The obvious loop: one row at a time, no padding, all logits."""
    out = torch.zeros(rows.tokens.shape)
    for i in range(len(rows)):
        prompt, length = rows.prompt_tokens[i][rows.prompt_mask[i]], int(rows.completion_mask[i].sum())
        ids = torch.cat([prompt, rows.tokens[i, :length]])[None]
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / rows.temperature[i]
        out[i, :length] = logits.log_softmax(-1).gather(1, rows.tokens[i, :length, None]).squeeze(1)
    return out


def test_is_a_policy(lora) -> None:
    policy: Policy = lora("a")
    assert {Need.LOGPROBS, Need.ENTROPY, Need.REFERENCE} <= policy.provides
    assert Need.VALUES not in policy.provides
    for name in ("parameters", "sample", "forward", "split", "snapshot", "restore", "gather", "mix", "save"):
        assert callable(getattr(policy, name))


@PEFT
def test_member_is_pefts_forward_of_its_export(lora, batch, model, tmp_path) -> None:
    policy = lora("a", "b")
    rows = batch(policy, 0, 1, temperature=0.7)
    ours = policy.forward(rows, LOGPROBS).logprobs
    model.save_pretrained(tmp_path / "base")
    for k, name in enumerate(policy.members):
        policy.save(name, tmp_path / name)
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        theirs = PeftModel.from_pretrained(base, str(tmp_path / name)).eval()
        mine = rows.select((rows.member == k).nonzero().squeeze(1))
        with torch.no_grad():
            assert_close(ours[rows.member == k], plain_logprobs(theirs, mine), atol=1e-5, rtol=0)


def test_merged_export(lora, batch, model, tmp_path) -> None:
    policy = lora("a", "b")
    rows = batch(policy, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    policy.save("b", tmp_path, merged=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = plain_logprobs(merged, rows)
    assert_close(policy.forward(rows, LOGPROBS).logprobs, expected, atol=1e-5, rtol=0)


@PEFT
def test_gradient_is_a_plain_peft_loops(lora, batch, model, tmp_path) -> None:
    policy = lora("a")
    rows = batch(policy, 0)
    (policy.forward(rows, LOGPROBS).logprobs * rows.train_mask).sum().backward()
    model.save_pretrained(tmp_path / "base")
    policy.save("a", tmp_path / "a")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "a"), is_trainable=True).eval()
    plain_logprobs(theirs, rows).sum().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    for name, stacked in policy.parameters().items():
        layer, _, kind = name.rpartition(".")
        theirs_grad = expected[f"base_model.model.{layer}.{kind}.default.weight"]
        assert theirs_grad is not None and float(theirs_grad.norm()) > 0
        assert_close(stacked.tensor.grad[0], theirs_grad, atol=1e-4, rtol=1e-4)


def test_start_is_the_base(lora, batch, model) -> None:
    policy = lora("a", "b")
    rows = batch(policy, 0, 1)
    out = policy.forward(rows, LOGPROBS, at=START)
    with torch.no_grad():
        assert_close(out.logprobs, plain_logprobs(model, rows), atol=1e-5, rtol=0)
    assert not out.logprobs.requires_grad


def test_new_members_are_the_base_and_differ_by_name(model) -> None:
    policy = LoraMembers(model, members=["a", "b"], pad_id=0, eos_ids=(1,), r=3)
    other = LoraMembers(model, members=["b"], pad_id=0, eos_ids=(1,), r=3)
    for name, stacked in policy.parameters().items():
        if name.endswith("lora_B"):
            assert not stacked.tensor.any()
        else:
            assert not torch.equal(stacked.tensor[0], stacked.tensor[1])
            assert torch.equal(stacked.tensor[1], other.parameters()[name].tensor[0])
            bound = stacked.tensor.shape[-1] ** -0.5  # kaiming with a = √5 is uniform within ±1/√in
            assert bool((stacked.tensor.abs() <= bound).all()) and float(stacked.tensor.detach().std()) > bound / 3


def test_members_mixed_in_one_batch(lora, batch) -> None:
    policy = lora("a", "b", "c")
    rows = batch(policy, 0, 1, 2)
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:-4]  # unequal blocks too
    together = policy.forward(rows.select(shuffled), frozenset({Need.LOGPROBS, Need.ENTROPY}))
    for k in range(3):
        mine = rows.member == k
        alone = policy.forward(rows.select(mine.nonzero().squeeze(1)), frozenset({Need.LOGPROBS, Need.ENTROPY}))
        of_k = mine[shuffled]
        place = torch.full((len(rows),), -1)
        place[mine] = torch.arange(int(mine.sum()))
        want = place[shuffled[of_k]]
        mask = rows.completion_mask[shuffled[of_k]]
        assert_close(together.logprobs[of_k][mask], alone.logprobs[want][mask], atol=1e-5, rtol=0)
        assert_close(together.entropy[of_k][mask], alone.entropy[want][mask], atol=1e-5, rtol=0)


def test_gradients_stay_with_their_member(lora, batch) -> None:
    policy = lora("a", "b", "c")
    rows = batch(policy, 0, 1, 2)
    out = policy.forward(rows, LOGPROBS)
    (out.logprobs * rows.train_mask)[rows.member == 1].sum().backward()
    for stacked in policy.parameters().values():
        assert not stacked.tensor.grad[[0, 2]].any()
        assert stacked.tensor.grad[1].any()


@pytest.mark.parametrize("options", [{"micro_rows": 2}, {"micro_members": 3}, {"gradient_checkpointing": True}])
def test_micro_batches_and_checkpointing_add_up(lora, batch, options) -> None:
    whole, parts = lora("a", "b", "c"), lora("a", "b", "c", **options)
    rows = batch(whole, 0, 1, 2)
    (whole.forward(rows, LOGPROBS).logprobs * rows.train_mask).sum().backward()
    for part in parts.split(rows, couples=Couples.ROWS):
        (parts.forward(part, LOGPROBS).logprobs * part.train_mask).sum().backward()
    for name, stacked in whole.parameters().items():
        assert_close(parts.parameters()[name].tensor.grad, stacked.tensor.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}], ids=["shared prompts", "whole rows"])
def test_stretches_of_similar_length_change_nothing(lora, batch, options) -> None:
    policy = lora("a", "b", "c", value_heads=2, **options)
    rows = batch(policy, 0, 1, 2).select(torch.arange(16))  # the last member has fewer rows
    needs = frozenset({Need.ENTROPY, Need.VALUES})
    policy._overhead = 10**9
    whole = policy.forward(rows, needs)
    policy._overhead = 1
    lengths = rows.completion_mask.sum(1).sort().values.tolist()
    assert len(cuts(lengths, overhead=1)) > 2
    parts = policy.forward(rows, needs)
    for name in ("logprobs", "entropy", "values"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert one.shape == other.shape
        assert_close(other, one, atol=1e-5, rtol=1e-5)
        assert not other[~rows.completion_mask].any()


def test_entropy_is_of_the_tempered_distribution(lora, batch, model) -> None:
    policy = lora("a")
    rows = batch(policy, 0, temperature=0.5)
    out = policy.forward(rows, frozenset({Need.ENTROPY}), at=START)
    prompt = rows.prompt_tokens[3]  # the prompt without padding: the first token's distribution by hand
    with torch.no_grad():
        p = (model(input_ids=prompt[None]).logits[0, -1] / 0.5).softmax(-1)
    assert_close(out.entropy[3, 0], -(p * p.log()).sum(), atol=1e-5, rtol=0)


def test_value_heads(lora, batch, model) -> None:
    policy = lora("a", "b", value_heads=2)
    rows = batch(policy, 0, 1)
    needs = frozenset({Need.VALUES})
    assert not policy.forward(rows, needs, at=START).values.any()
    out = policy.forward(rows, needs)
    assert out.values.shape == (*rows.tokens.shape, 2)
    # the first token of an unpadded prompt is judged from the prompt's last hidden state
    i = int((rows.member == 1).nonzero()[3])
    single = rows.select(torch.tensor([i]))
    with policy.acting([1], None), torch.no_grad():
        hidden = model(input_ids=single.prompt_tokens, output_hidden_states=True).hidden_states[-1][0, -1]
    weight, bias = policy.tensors["value_head.weight"][1], policy.tensors["value_head.bias"][1]
    assert_close(out.values[i, 0], hidden @ weight + bias, atol=1e-5, rtol=1e-5)
    out.values.sum().backward()
    assert policy.tensors["value_head.weight"].grad.any()
    assert all(t.grad is None or not t.grad.any() for n, t in policy.tensors.items() if "lora" in n)
    attached = lora("a", "b", value_heads=2, detach_values=False)
    attached.forward(rows, needs).values.sum().backward()
    assert any(t.grad.any() for n, t in attached.tensors.items() if "lora_A" in n)


def test_values_without_heads_are_refused(lora, batch) -> None:
    policy = lora("a")
    with pytest.raises(ConfigError, match="value_heads"):
        policy.forward(batch(policy, 0), frozenset({Need.VALUES}))


def test_zero_value_heads_start_at_zero(model) -> None:
    policy = LoraMembers(model, members=["a"], pad_id=0, eos_ids=(1,), value_heads=3)
    assert policy.parameters()["value_head.weight"].tensor.shape == (1, 32, 3)
    assert not policy.parameters()["value_head.weight"].tensor.any()


def test_gather_then_inverse_is_the_identity(lora) -> None:
    policy = lora("a", "b", "c")
    before = policy.snapshot()
    policy.gather([2, 0, 1], ["c", "a", "b"])
    assert all(torch.equal(policy.tensors[name][0], tensor[2]) for name, tensor in before.tensors.items())
    policy.gather([1, 2, 0], ["a", "b", "c"])
    after = policy.snapshot()
    assert after.members == before.members
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in before.tensors.items())
    assert all(s.tensor.requires_grad and s.tensor.is_leaf for s in policy.parameters().values())


def test_gather_clones_and_drops(lora) -> None:
    policy = lora("a", "b", "c")
    before = policy.snapshot(["b"])
    policy.gather([1, 1], ["b", "d"])
    assert policy.members == ("b", "d")
    for name, tensor in before.tensors.items():
        assert torch.equal(policy.tensors[name], tensor.expand_as(policy.tensors[name]))
        policy.tensors[name].data[0] += 1.0  # a clone has its own storage
        assert torch.equal(policy.tensors[name][1], tensor[0])


def test_restore_by_name(lora, batch) -> None:
    policy = lora("a", "b", "c")
    before = policy.snapshot()
    some = policy.snapshot(["c", "a"])
    for stacked in policy.parameters().values():
        stacked.tensor.data.zero_()
    policy.restore(some)
    after = policy.snapshot()
    for name, tensor in before.tensors.items():
        assert torch.equal(after.tensors[name][[0, 2]], tensor[[0, 2]])
        assert not after.tensors[name][1].any()
    with pytest.raises(UnknownNameError, match="`d`"):
        policy.restore(Snapshot(("d",), some.tensors))
    with pytest.raises(ConfigError, match="lora_A"):
        policy.restore(Snapshot(("a",), {}))


def test_forward_at_a_snapshot_of_some(lora, batch) -> None:
    policy = lora("a", "b")
    rows = batch(policy, 1)
    expected = policy.forward(rows, LOGPROBS).logprobs.detach()
    snapshot = policy.snapshot(["b"])
    for stacked in policy.parameters().values():
        stacked.tensor.data.zero_()
    assert_close(policy.forward(rows, LOGPROBS, at=snapshot).logprobs, expected)
    with pytest.raises(UnknownNameError, match="`a`"):
        policy.forward(batch(policy, 0), LOGPROBS, at=snapshot)


def test_soups_are_exact_in_the_product(lora, batch, model) -> None:
    policy = lora("a", "b", "c", value_heads=1)
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    soup = policy.mix(weights, ["p", "q"])
    assert soup.members == ("p", "q") and policy.members == ("a", "b", "c")
    one_hot = torch.eye(2)
    for name in policy.layers:
        assert soup.tensors[f"{name}.lora_A"].shape[1] == 6  # two members of rank 3: weight zero adds none
        for p in range(2):
            dense = sum(
                weights[p, k] * 2.0 * policy.tensors[f"{name}.lora_B"][k] @ policy.tensors[f"{name}.lora_A"][k]
                for k in range(3)
            )  # alpha / r = 6 / 3
            assert_close(soup.product(name, one_hot[p]), dense.detach(), atol=1e-5, rtol=1e-5)
    head = policy.tensors["value_head.weight"]
    assert_close(soup.tensors["value_head.weight"][0], (head[0] + head[1]) / 2)
    rows = batch(soup, 0, 1)
    with torch.no_grad():
        out = soup.forward(rows, LOGPROBS).logprobs
        for p in range(2):
            mine = rows.select((rows.member == p).nonzero().squeeze(1))
            change = {n: layer.weight + soup.product(n, one_hot[p]) for n, layer in policy.layers.items()}
            kept = {n: layer.weight.clone() for n, layer in policy.layers.items()}
            for n, layer in policy.layers.items():
                layer.weight.data.copy_(change[n])
            assert_close(out[rows.member == p], plain_logprobs(model, mine), atol=2e-5, rtol=0)
            for n, layer in policy.layers.items():
                layer.weight.data.copy_(kept[n])


def test_soup_of_one_is_the_member(lora, batch) -> None:
    policy = lora("a", "b")
    soup = policy.mix(torch.tensor([[0.0, 1.0]]), ["b"])
    rows = batch(soup, 0)
    theirs = policy.snapshot(["b"])
    assert_close(soup.forward(rows, LOGPROBS).logprobs, soup.forward(rows, LOGPROBS, at=theirs).logprobs)
    with pytest.raises(ConfigError, match="weights"):
        policy.mix(torch.ones(1, 3), ["b"])


@PEFT
def test_export_names_its_base_and_brings_its_tokenizer(model, tmp_path) -> None:
    model.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    words = {word: i for i, word in enumerate("_ . ^ a b c d e f g h i".split())}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="_")), pad_token="_")
    policy = LoraMembers(base, members=["a"], pad_id=0, eos_ids=(1,), tokenizer=tokenizer)
    policy.tensors["model.layers.0.mlp.up_proj.lora_B"].data.fill_(0.1)
    for merged in (False, True):
        policy.save("a", tmp_path / str(merged), merged=merged)
        assert AutoTokenizer.from_pretrained(tmp_path / str(merged)).convert_tokens_to_ids("d") == words["d"]
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "False")  # finds the base by its name
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "True")
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        assert_close(adapted(input_ids=ids).logits, merged(input_ids=ids).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(merged(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-3)


def test_a_scale_that_is_no_multiple_survives_export(lora, batch, model, tmp_path) -> None:
    policy = lora("a", rslora=True)  # 6 / √3
    policy.save("a", tmp_path)
    factors, scale = load_adapter(tmp_path)
    for name, (a, b) in factors.items():
        assert_close(scale * b @ a, policy.product(name, torch.ones(1)), atol=1e-5, rtol=1e-5)


def test_load_reads_what_save_wrote(lora, tmp_path) -> None:
    policy = lora("a", "b")
    policy.save("b", tmp_path)
    factors, scale = load_adapter(tmp_path)
    assert scale == 2.0 and set(factors) == set(policy.layers)
    policy.load("a", tmp_path)
    assert all(torch.equal(t[0], t[1]) for t in policy.tensors.values())


def test_peft_configuration(model) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True, task_type="CAUSAL_LM")
    policy = LoraMembers.from_peft(model, config, members=["a"], pad_id=0, eos_ids=(1,))
    assert policy.scale == 4.0  # 8 / √4
    assert {name.rsplit(".", 1)[1] for name in policy.layers} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    "option",
    [{"lora_dropout": 0.1}, {"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}],
    ids=lambda option: next(iter(option)),
)
def test_unsupported_configuration_is_refused_by_name(model, option) -> None:
    config = LoraConfig(target_modules=["q_proj"], **option)
    with pytest.raises(ConfigError, match=next(iter(option))):
        LoraMembers.from_peft(model, config, members=["a"], pad_id=0, eos_ids=(1,))


def test_layers_that_cannot_carry_adapters_are_refused_by_name(model) -> None:
    gpt = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=10))
    with pytest.raises(ConfigError, match=r"transformer\.h\.0\.attn\.c_attn.*FullModel"):
        target_layers(gpt)
    with pytest.raises(ConfigError, match="Conv1D"):
        target_layers(gpt, ["c_proj"])
    with pytest.raises(ConfigError, match=r"embed_tokens.*Embedding"):
        target_layers(model, ["embed_tokens"])
    with pytest.raises(ConfigError, match="lm_head"):
        target_layers(model, ["lm_head"])
    with pytest.raises(ConfigError, match="q_proj"):
        target_layers(model, ["query"])
    experts = torch.nn.Module()
    experts.gate_up_proj = torch.nn.Parameter(torch.zeros(2, 4, 4))
    with pytest.raises(ConfigError, match="`mlp` fuses"):
        target_layers(torch.nn.ModuleDict({"mlp": experts}))


def test_no_linear_layer_but_the_output_is_adapted(model) -> None:
    layers = target_layers(model)
    assert len(layers) == 2 * 7
    assert "lm_head" not in layers
    assert list(target_layers(model, r".*\.1\.mlp\.up_proj")) == ["model.layers.1.mlp.up_proj"]


def test_bfloat16_base_keeps_float32_adapters(model, ask, rows_of) -> None:
    policy = LoraMembers(model.to(torch.bfloat16), members=["a", "b"], pad_id=0, eos_ids=(1,))
    requests = ask(0, 1)
    rows = rows_of(requests, policy.sample(requests, stream=STREAM), 2)
    out = policy.forward(rows, LOGPROBS)
    (out.logprobs * rows.train_mask).sum().backward()
    assert out.logprobs.dtype == torch.float32
    for name, stacked in policy.parameters().items():
        assert stacked.tensor.dtype == torch.float32
        assert stacked.tensor.grad.any() == name.endswith("lora_B")  # B = 0 stops the gradient of A


def test_members_must_be_named_apart(model) -> None:
    with pytest.raises(ConfigError, match="all different"):
        LoraMembers(model, members=["a", "a"], pad_id=0, eos_ids=(1,))
