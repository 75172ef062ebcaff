"""What other libraries print is kept out of the way of a command's own output."""

import os
import warnings


def quiet() -> None:
    """Hide deprecations among libraries, and their bars for weights and data; downloads keep theirs."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    hidden = are_progress_bars_disabled()
    logging.disable_progress_bar()  # the hub's too, which are the downloads
    if not hidden:
        enable_progress_bars()
