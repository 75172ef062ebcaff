"""Gradient checkpointing whose second forward pass acts as the same members as the first."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from transformers import PreTrainedModel


@contextmanager
def checkpointed(model: PreTrainedModel, context: AbstractContextManager[object]) -> Iterator[None]:
    """Checkpoint the decoder layers of calls made here; the backward pass recomputes them within `context`.

    The layers, and only they, are told that they train: that turns checkpointing on and leaves dropout off.
    """
    again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), context)}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=again)
    layers = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, training in zip(layers, before):
            layer.training = training
        model.gradient_checkpointing_disable()
