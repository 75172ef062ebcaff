"""Points on disk: loading, generating and exporting, with transformers and PEFT as oracles."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from moalign.errors import ConfigError, RunError
from moalign.fronts import Front, Point

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT on transformers 5
PROMPTS = ["1+1=", "27+5="]


def point(path) -> Point:
    return Point("m00", {"a": 1.0}, {"a": 0.0}, path=path)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[3, 12, 3, 13]])).logits


def test_exported_adapter_loads_with_peft(adapter_path, tmp_path):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model, tokenizer = point(adapter_path).load()
    out = point(adapter_path).export(tmp_path / "out")
    again = AutoPeftModelForCausalLM.from_pretrained(out)
    assert torch.equal(logits(again), logits(model))
    assert AutoTokenizer.from_pretrained(out)("27+5=").input_ids == tokenizer("27+5=").input_ids


def test_merged_export_is_one_model(adapter_path, model_path, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = point(adapter_path).load()
    out = point(adapter_path).export(tmp_path / "out", merge=True)
    assert not (out / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-6)
    base = AutoModelForCausalLM.from_pretrained(model_path)
    assert (logits(merged) - logits(base)).abs().max() > 1e-3  # the adapter does something
    assert AutoTokenizer.from_pretrained(out).get_vocab() == tokenizer.get_vocab()


def test_a_whole_model_is_loaded_and_exported_as_it_is(model_path, tmp_path):
    out = point(model_path).export(tmp_path / "out", merge=True)
    assert torch.equal(logits(point(out).load()[0]), logits(point(model_path).load()[0]))


def test_a_relative_base_is_found_from_elsewhere(adapter_path, model_path, tmp_path, monkeypatch):
    monkeypatch.chdir(model_path.parent)
    copy = shutil.copytree(adapter_path, tmp_path / "adapter")
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": model_path.name}))
    out = point(copy).export(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(logits(point(out).load()[0]), logits(point(adapter_path).load()[0]))


def test_generate_is_seeded_and_batches_change_nothing_when_greedy(adapter_path):
    p = point(adapter_path)
    greedy = p.generate(PROMPTS, max_new_tokens=6, temperature=0.0)
    assert greedy == p.generate(PROMPTS, max_new_tokens=6, temperature=0.0, batch=1)
    before = torch.random.get_rng_state()
    sampled = p.generate(PROMPTS, max_new_tokens=12, seed=1)
    assert sampled == p.generate(PROMPTS, max_new_tokens=12, seed=1)
    assert sampled != p.generate(PROMPTS, max_new_tokens=12, seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(ConfigError, match="pass a list"):
        p.generate("1+1=")


def test_chat_prompts_go_through_the_template(model_path):
    from transformers import AutoTokenizer

    path = shutil.copytree(model_path, model_path.parent / "chat", dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}="
    tokenizer.save_pretrained(path)
    chat = point(path).generate([[{"role": "user", "content": "1+1"}]], max_new_tokens=6, temperature=0.0)
    assert chat == point(path).generate(["1+1="], max_new_tokens=6, temperature=0.0)


def test_compare(adapter_path, model_path):
    points = tuple(Point(name, {"a": 1.0}, {"a": 0.0}, path=p) for name, p in [("x", adapter_path), ("y", model_path)])
    front = Front.from_frame({"a": [1.0]}, ["a"])
    frame = replace(front, points=points).compare(PROMPTS, max_new_tokens=3, temperature=0.0)
    assert list(frame.columns) == ["x", "y"] and list(frame.index) == PROMPTS
    assert frame.loc["1+1=", "y"] == points[1].generate(PROMPTS[:1], max_new_tokens=3, temperature=0.0)[0]


@pytest.mark.parametrize("merge", [False, True])
def test_an_export_that_is_cut_off_leaves_nothing(adapter_path, tmp_path, monkeypatch, merge):
    from transformers import PreTrainedTokenizerBase

    def dies(self, to, *args, **options):
        assert os.listdir(to)  # the weights are written
        raise failure

    out = tmp_path / "out"
    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", dies)
    failure: BaseException = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        point(adapter_path).export(out, merge=merge)
    failure = OSError(28, "No space left on device")
    with pytest.raises(RunError, match=r"cannot write `.*out`: No space left on device. Nothing of it is there"):
        point(adapter_path).export(out, merge=merge)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    (tmp_path / ".out.writing").mkdir()  # as a kill leaves it
    assert point(adapter_path).export(out, merge=merge) == out
    assert os.listdir(tmp_path) == ["out"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="or where you are"):
        point(adapter_path).export(".")


def test_what_is_not_there(adapter_path, tmp_path):
    with pytest.raises(RunError, match="has no files"):
        point(None).load()
    with pytest.raises(RunError, match="are not at"):
        point(tmp_path / "gone").load()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        point(adapter_path).export(tmp_path / "full")
    assert os.listdir(tmp_path / "full") == ["note"]
    copy = shutil.copytree(adapter_path, tmp_path / "adapter")
    config = json.loads((copy / "adapter_config.json").read_text())
    gone = str(tmp_path / "nowhere")
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": gone}))
    with pytest.raises(RunError, match=r"the base model `.*nowhere` of the adapter"):
        point(copy).load()


def test_a_soup_is_the_mean_of_the_products(adapter_path, tmp_path):
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(adapter_path, tmp_path / "other")
    tensors = load_file(other / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(3)
    tensors = {name: torch.randn(t.shape, generator=generator) for name, t in tensors.items()}
    save_file(tensors, other / "adapter_model.safetensors")
    values = {"a": 1.0}
    points = (
        Point("x", values, {"a": 0.0}, {"a": 1.0}, path=adapter_path),
        Point("y", values, {"a": 0.0}, {"a": 0.0}, path=other),
    )
    front = replace(Front.from_frame({"a": [1.0]}, ["a"]), points=points)
    mixed = front.soup({"x": 0.25, "y": 0.75}, to=tmp_path / "soup")
    assert mixed.kind == "soup" and mixed.preference == {"a": 0.25}

    def merged(p):
        return p.load()[0].merge_and_unload().state_dict()

    parts, found = [merged(p) for p in points], merged(mixed)
    for name in found:  # base + 0.25 dx + 0.75 dy = 0.25 (base + dx) + 0.75 (base + dy)
        torch.testing.assert_close(found[name], 0.25 * parts[0][name] + 0.75 * parts[1][name], atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="sum to 1"):
        front.soup({"x": 0.5, "y": 0.75})
