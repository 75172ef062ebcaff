"""Small tasks that train in minutes on a CPU: data, tokenizer, rewards and a base model, no policies.

`moalign.tasks.arithmetic` is addition with optional digit steps and three rewards in tension;
`moalign.tasks.replies` is customer service, with a courtesy that a reward model learns from pairwise judgements.

>>> from moalign.tasks import arithmetic
>>> arithmetic.prompts("dev")[0].keys()
dict_keys(['prompt', 'answer'])
"""
