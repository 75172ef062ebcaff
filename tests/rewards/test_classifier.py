import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.rewards import Scorer
from moalign.rewards.classifier import Classifier

PROMPTS, COMPLETIONS = ["1+", "12+"], ["2=3", "3"]


def make_tokenizer():
    vocab = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *"0123456789+=: "])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.fixture
def one_score(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=17, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                         num_attention_heads=2, num_labels=1)  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def two_labels(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=17, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                        id2label={0: "harmless", 1: "helpful"}, label2id={"harmless": 0, "helpful": 1})  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def by_hand(model, text):
    tokens = AutoTokenizer.from_pretrained(model.name_or_path)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(tokens).logits[0]


def test_one_label_gives_its_logit_unpadded_or_padded(one_score):
    with Scorer([Objective("rm", str(one_score))]) as scorer:
        values = scorer.score(PROMPTS, COMPLETIONS).values[:, 0]
    model = LlamaForSequenceClassification.from_pretrained(one_score).eval()
    torch.testing.assert_close(values, torch.cat([by_hand(model, "1+2=3"), by_hand(model, "12+3")]))


def test_a_model_in_memory_finds_its_tokenizer_and_batches_do_not_matter(one_score):
    model = LlamaForSequenceClassification.from_pretrained(one_score)
    with Scorer([Objective("rm", model)]) as scorer:
        values = scorer.score(PROMPTS, COMPLETIONS).values[:, 0]
    in_ones = Classifier(model, make_tokenizer(), batch_size=1)
    torch.testing.assert_close(values, torch.tensor(in_ones(PROMPTS, COMPLETIONS)))
    assert not model.training


def test_several_labels_go_to_the_objectives_of_their_names(two_labels):
    objectives = [Objective("helpful", str(two_labels)), Objective("harmless", str(two_labels))]
    with Scorer(objectives) as scorer:
        assert len(scorer._calls) == 1  # loaded and run once for both
        values = scorer.score(PROMPTS, COMPLETIONS).values
    model = BertForSequenceClassification.from_pretrained(two_labels).eval()
    torch.testing.assert_close(values[0], by_hand(model, "1+2=3")[[1, 0]])
    with (
        Scorer([Objective("polite", str(two_labels))]) as scorer,
        pytest.raises(RewardError, match="objective `polite`: its reward returned harmless, helpful, not `polite`"),
    ):
        scorer.score(PROMPTS, COMPLETIONS)


def test_chats_go_through_the_reward_models_own_template(one_score):
    model, tokenizer = LlamaForSequenceClassification.from_pretrained(one_score), make_tokenizer()
    chat, answer = [{"role": "user", "content": "1+1"}], [{"role": "assistant", "content": "2"}]
    with pytest.raises(ConfigError, match="no chat template"):
        Classifier(model, tokenizer)([chat], [answer])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}:{% endfor %}"
    torch.testing.assert_close(torch.tensor(Classifier(model, tokenizer)([chat], [answer])), by_hand(model, "1+1:2:"))


def test_what_cannot_be_a_classifier_is_told(tmp_path, one_score):
    with pytest.raises(ConfigError, match="no such path"):
        Scorer([Objective("rm", str(tmp_path / "nowhere"))])
    config = LlamaConfig(vocab_size=17, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    with pytest.raises(ConfigError, match=r"not a trained sequence classifier: it has no weights for score\.weight"):
        Classifier.load(tmp_path / "lm")
    with pytest.raises(ConfigError, match=r"pass Classifier\(model, tokenizer\)"):
        Classifier.of(LlamaForSequenceClassification(config))
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(ConfigError, match="no padding token"):
        Classifier(LlamaForSequenceClassification.from_pretrained(one_score), tokenizer)


def test_config_says_what_is_applied_to_the_logits(one_score):
    raw = torch.tensor(Classifier.load(one_score)(PROMPTS, COMPLETIONS))
    model = LlamaForSequenceClassification.from_pretrained(one_score)
    model.config.function_to_apply = "sigmoid"
    model.save_pretrained(one_score)  # the config keeps it
    squashed = Classifier.load(one_score)(PROMPTS, COMPLETIONS)
    torch.testing.assert_close(torch.tensor(squashed), 1 / (1 + torch.exp(-raw)))
    model.config.function_to_apply = "softmax"
    with pytest.raises(ConfigError, match="`function_to_apply='softmax'`; 'none' and 'sigmoid' are known"):
        Classifier.of(model)


def test_heads_beside_the_model_scale_its_logits(two_labels):
    raw = Classifier.load(two_labels)(PROMPTS, COMPLETIONS)
    (two_labels / "heads.json").write_text('{"helpful": {"mean": 0.5, "std": 2.0}}')
    scaled = Classifier.load(two_labels)(PROMPTS, COMPLETIONS)
    assert scaled["helpful"] == pytest.approx([(value - 0.5) / 2.0 for value in raw["helpful"]])
    assert scaled["harmless"] == raw["harmless"]
    assert Classifier.load(two_labels, heads={})(PROMPTS, COMPLETIONS) == raw
    (two_labels / "heads.json").write_text('{"polite": {"mean": 0.5, "std": 2.0}}')
    with pytest.raises(ConfigError, match="`heads` names `polite`; the reward model's labels are harmless, helpful"):
        Classifier.load(two_labels)
    (two_labels / "heads.json").write_text('{"helpful": {"mean": 0.5, "std": 0.0}}')
    with pytest.raises(ConfigError, match="a std above 0"):
        Classifier.load(two_labels)
    (two_labels / "heads.json").write_text('{"helpful": 3}')
    with pytest.raises(ConfigError, match=r"heads\.json` must say"):
        Classifier.load(two_labels)


def test_batches_of_like_length_change_no_score(two_labels):
    prompts, completions = ["1+", "12+3", "1", "123+4"], ["2=3", "3=15", "=1", "56=579"]
    model = BertForSequenceClassification.from_pretrained(two_labels)
    alone = Classifier(model, make_tokenizer(), batch_size=1)(prompts, completions)
    widths = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    together = Classifier(model, make_tokenizer(), batch_size=2)(prompts, completions)
    assert widths == [11, 5]  # texts of 11 and 8, then of 5 and 3 characters
    for name, values in alone.items():
        assert together[name] == pytest.approx(values, abs=1e-6)
    assert Classifier(model, make_tokenizer())([], []) == {"harmless": [], "helpful": []}
