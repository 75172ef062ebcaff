"""Text and chat forms of prompts and completions, as TRL hands them to reward functions."""

from typing import Any


def is_chat(prompt: Any) -> bool:
    """Tell whether a prompt or completion is a list of messages.

    >>> is_chat("2+2="), is_chat([{"role": "user", "content": "2+2="}])
    (False, True)
    """
    return not isinstance(prompt, str)


def text_of(completion: Any) -> str:
    """Return the text of a completion in either form.

    >>> text_of("4"), text_of([{"role": "assistant", "content": "4"}])
    ('4', '4')
    """
    if isinstance(completion, str):
        return completion
    return "".join(message["content"] or "" for message in completion)


def as_completion(prompt: Any, text: Any) -> Any:
    """Return a completion in the form of its prompt.

    >>> as_completion("2+2=", "4"), as_completion([{"role": "user", "content": "2+2="}], "4")
    ('4', [{'role': 'assistant', 'content': '4'}])
    """
    return [{"role": "assistant", "content": text}] if is_chat(prompt) and isinstance(text, str) else text
