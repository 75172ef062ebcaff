"""Rewards that are remembered."""

import multiprocessing
import sqlite3
import threading
from dataclasses import dataclass

import numpy
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import bind
from moalign.rewards import Cached, Scorer
from moalign.rewards.classifier import Classifier
from moalign.rewards.identity import identity
from moalign.tasks._training import character_tokenizer


@dataclass(frozen=True)
class Counting:
    """Rewards a length times `by`, and says how often it was asked."""

    asked: tuple[list[str], ...] = ()
    by: float = 1.0

    def __call__(self, prompts, completions, level=None, **columns):
        for log in self.asked:
            log.extend(completions)
        return [None if text == "none" else self.by * len(text) for text in completions]


@dataclass(frozen=True)
class Scaled:
    by: float = 1.0

    def __call__(self, prompts, completions, level):
        return [self.by * len(text) for text in completions]


def test_equal_content_is_scored_once():
    log: list[str] = []
    reward = Cached(Counting((log,)))
    with Scorer([Objective("o", reward)]) as scorer:
        first = scorer.score(["p", "p", "q", "p"], ["a", "bb", "a", "a"])
        assert log == ["a", "bb", "a"]  # of p, and of q
        assert first.values[:, 0].tolist() == [1.0, 2.0, 1.0, 1.0] and first.metrics["cache/hits"] == 0.25
        second = scorer.score(["q", "p", "p"], ["a", "bb", "new"])
        assert log == ["a", "bb", "a", "new"] and second.metrics["cache/hits"] == pytest.approx(2 / 3)
        assert second.values[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_columns_that_it_reads_are_part_of_the_content():
    log: list[str] = []

    def named(prompts, completions, level):
        log.extend(completions)
        return [float(x) for x in level]

    reward = Cached(named)
    assert reward.columns == ("level",)
    for level, other, count in ((1, 1, 1), (1, 2, 1), (2, 2, 2)):
        assert reward(prompts=["p"], completions=["x"], level=[level], other=[other]) == [float(level)]
        assert len(log) == count  # `other` is not read
    log.clear()
    free = Cached(Counting((log,)))
    for other in (1, 2):
        free(prompts=["p"], completions=["x"], other=[other])
    assert len(log) == 2  # it could read it
    narrow = Cached(Counting((log,)), reads=())
    for other in (1, 2):
        narrow(prompts=["p"], completions=["x"], other=[other])
    assert len(log) == 3


def test_a_missing_value_is_asked_for_again(tmp_path):
    log: list[str] = []
    reward = Cached(Counting((log,)), path=tmp_path / "said.sqlite", version="1")
    for _ in range(2):
        assert reward(prompts=["p"], completions=["none"]) == [None]
    assert len(log) == 2

    def two(completions):
        log.append("two")
        return {"a": [1.0], "b": [float("nan")]}

    both = Cached(two)
    assert both(completions=["x"])["a"] == both(completions=["x"])["a"] == [1.0] and log.count("two") == 2


def test_dicts_and_what_is_logged_keep_their_places():
    def two(completions, log_extra, log_metric):
        log_extra("upper", [text.upper() for text in completions])
        log_metric("asked", float(len(completions)))
        return {"length": [len(text) for text in completions], "first": [float(ord(text[0])) for text in completions]}

    reward = Cached(two, name="kept")
    with Scorer([Objective("first", reward), Objective("length", reward)]) as scorer:
        scorer.score(["p"], ["b"])
        result = scorer.score(["p"] * 3, ["aa", "b", "aa"])
    assert result.values.tolist() == [[97.0, 2.0], [98.0, 1.0], [97.0, 2.0]]
    assert result.extras == {"upper": ["AA", None, None]}  # said of what was asked about
    assert result.metrics["asked"] == 1 and result.metrics["kept/hits"] == pytest.approx(2 / 3)


def test_memory_is_bounded_and_forgets_what_was_not_asked_for():
    log: list[str] = []
    reward = Cached(Counting((log,)), size=2)
    for text in ("a", "b", "a", "c", "a", "b"):  # b goes when c comes: a was asked for since
        reward(prompts=["p"], completions=[text])
    assert log == ["a", "b", "c", "b"]


def test_a_file_serves_another_object_and_tells_rewards_apart(tmp_path):
    file = tmp_path / "deep" / "said.sqlite"
    given = {"prompts": ["p"], "completions": ["xyz"], "level": [1]}
    assert Cached(Scaled(2.0), file)(**given) == [6.0]
    assert Cached(Scaled(3.0), file)(**given) == [9.0]
    with sqlite3.connect(file) as lines:
        assert lines.execute("SELECT count(*) FROM said").fetchone() == (2,)
        lines.execute("UPDATE said SET value = '42.0'")
    lines.close()
    assert Cached(Scaled(2.0), file)(**given) == [42.0]  # it was read
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(RewardError, match="cannot be used: file is not a database; delete it, or name another"):
        Cached(Scaled(2.0), file)(**given)


def score(path, start, results):
    reward = Cached(Scaled(), path)
    results.put(reward(prompts=["p"] * 20, completions=["x" * (start + i) for i in range(20)], level=[1] * 20))


def test_processes_and_threads_share_a_file(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    ends = [context.Process(target=score, args=(tmp_path / "said", start, results)) for start in (0, 10)]
    for process in ends:
        process.start()
    threads = [threading.Thread(target=score, args=(tmp_path / "said", 5, results)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for one in (*ends, *threads):
        one.join(20)
    said = sorted(results.get()[0] for _ in range(4))
    assert said == [0.0, 5.0, 5.0, 10.0]
    with sqlite3.connect(tmp_path / "said") as lines:
        assert lines.execute("SELECT count(*) FROM said").fetchone() == (30,)
    lines.close()


def test_identity_follows_options_sources_and_parameters(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=17, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    tokenizer = character_tokenizer("0123456789+=: ")
    one, two = (Classifier(BertForSequenceClassification(config), tokenizer) for _ in range(2))
    same = Classifier(one.model, tokenizer)
    assert identity(one) == identity(same) != identity(two)
    assert identity(Classifier(one.model, tokenizer, heads={"LABEL_0": (1.0, 2.0)})) != identity(one)
    assert identity(bind(keyed, k=1.0)) == identity(bind(keyed, k=1.0)) != identity(bind(keyed, k=2.0))
    captured = 3

    def closure(completions):
        return [captured for _ in completions]

    class Plain:
        def __call__(self, completions):
            return [0.0 for _ in completions]

    for reward in (closure, Plain()):
        assert Cached(reward)(completions=["x"]) is not None
        with pytest.raises(ConfigError, match="give the cache a `version`"):
            Cached(reward, tmp_path / "said")
        assert Cached(reward, tmp_path / "said", version="a")(completions=["x"]) is not None


def keyed(completions, *, k=1.0):
    return [k for _ in completions]


def test_content_must_be_readable_as_text():
    reward = Cached(Counting())
    assert reward(prompts=["p"], completions=["x"], row=[numpy.float32(1)]) == [1.0]
    with pytest.raises(RewardError, match="a object cannot be part of a cache's key; leave its column out by `reads`"):
        reward(prompts=["p"], completions=["x"], row=[object()])
    with pytest.raises(RewardError, match="one value per completion, 1 here"):
        Cached(lambda completions: [])(completions=["x"])
    with pytest.raises(ConfigError, match="`size` of a cache must be at least 0, not -1"):
        Cached(Counting(), size=-1)
