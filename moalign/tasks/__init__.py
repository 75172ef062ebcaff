"""Small tasks that train in minutes on a CPU: data, tokenizer, rewards and a base model, no policies.

`moalign.tasks.arithmetic` is addition with optional digit steps and three rewards in tension.

>>> from moalign.tasks import arithmetic
>>> arithmetic.prompts("dev")[0].keys()
dict_keys(['prompt', 'answer'])
"""
