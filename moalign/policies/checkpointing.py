"""Gradient checkpointing whose second forward pass acts as the same members as the first."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from moalign.errors import ConfigError


@contextmanager
def checkpointed(model: PreTrainedModel, context: AbstractContextManager[object]) -> Iterator[None]:
    """Checkpoint the decoder layers of calls made here; the backward pass recomputes them within `context`.

    The layers alone are told that they train: that turns checkpointing on and leaves dropout, which is inside, off.
    """
    layers = checkpointable(model)
    again = partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), context))
    before = [(layer.training, layer.gradient_checkpointing) for layer in layers]
    for layer in layers:
        layer.training, layer.gradient_checkpointing = True, True
        setattr(layer, "_gradient_checkpointing_func", again)  # noqa: B010 - the class does not declare it
    try:
        yield
    finally:
        for layer, (layer.training, layer.gradient_checkpointing) in zip(layers, before):
            del layer._gradient_checkpointing_func


def checkpointable(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """Return the layers that transformers can checkpoint, or raise `ConfigError` if there are none."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(f"`gradient_checkpointing` cannot be used with {type(model).__name__}; leave it False.")
    return layers
