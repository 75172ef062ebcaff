import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from moalign.errors import ConfigError
from moalign.models import check_model, load_model, load_tokenizer, looks_local, token_ids

CHARACTERS = "0123456789+=-. abc"


def make_tokenizer(**special):
    vocab = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=21, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, eos_token_id=1
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    make_tokenizer(eos_token="<eos>").save_pretrained(path)
    return path


def test_a_tokenizer_pads_left_with_the_end_token_where_it_has_no_other(folder):
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.pad_token == "<eos>" and tokenizer.padding_side == "left"
    assert tokenizer(["1", "1+2"], padding=True)["input_ids"] == [[1, 1, 4], [4, 13, 5]]  # <eos> is 1, "0" is 3


def test_a_given_tokenizer_is_copied():
    given = make_tokenizer(eos_token="<eos>", pad_token="<pad>", padding_side="right")
    assert load_tokenizer(given).padding_side == "left" and given.padding_side == "right"
    assert load_tokenizer(given).pad_token == "<pad>"


def test_a_tokenizer_without_pad_and_end_is_refused():
    with pytest.raises(ConfigError, match="neither a pad nor an end token"):
        load_tokenizer(make_tokenizer())


def test_a_model_is_frozen_and_in_eval_mode(folder):
    model = load_model(folder)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert load_model(str(folder), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_token_ids_gather_all_end_tokens(folder):
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    assert token_ids(tokenizer, model) == (1, (1,))
    model.generation_config.eos_token_id = [7, 1]
    assert token_ids(tokenizer, model) == (1, (1, 7))
    tokenizer.pad_token = "<pad>"
    model.generation_config = None
    assert token_ids(tokenizer, model) == (0, (1,))


def test_a_missing_path_and_an_unreachable_id_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere` should be a causal language model, but there is no such path"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"`org/nothing-here` is not a path here .* download it first"):
        load_tokenizer("org/nothing-here")
    assert not looks_local("gpt2") and looks_local("~/model") and looks_local("..")


def test_check_model_names_what_is_missing_without_reading_weights(folder, tmp_path):
    assert check_model(folder) == []
    [missing] = check_model(str(tmp_path / "no"))
    assert "no such path" in missing
    [empty] = check_model(tmp_path)
    assert "no config.json" in empty
    (tmp_path / "adapter_config.json").write_text("{}")
    [adapter] = check_model(tmp_path)
    assert "PEFT adapter" in adapter
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    weights, tokenizer = check_model(tmp_path)
    assert "no weights" in weights and "tokenizer" in tokenizer
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")  # never opened
    load_tokenizer(folder).save_pretrained(tmp_path)
    assert check_model(tmp_path) == []
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert "not a causal language model" in check_model(tmp_path)[0]
