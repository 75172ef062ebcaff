"""Bridges: moalign's credit and controllers inside the trainers that people already use, and studies from their words.

| module | what it gives |
| --- | --- |
| `moalign.bridges.trl` | TRL's `GRPOTrainer` with `collapse=`, `weighting=` and the other parts of credit |
| `moalign.bridges.verl` | an advantage estimator for verl that sees the vector of rewards |
| `moalign.bridges.from_trl`, `moalign.bridges.to_trl` | what `Study.from_trl` and `study.to_trl` do |
| `moalign.bridges.aggregator` | what the trainers share: a matrix of rewards to one advantage for each completion |

Importing this room imports no trainer; each module asks for its own.
"""
