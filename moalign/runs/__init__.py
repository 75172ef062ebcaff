"""A run on disk: one directory, written atomically, from which a killed run goes on to the same numbers.

```
spec.json                      what the study was: compared on resume, never executed
status.json                    where it stands
metrics.jsonl                  one line per step
rollouts/step-000020.parquet   completions with every reward
checkpoints/step-000020/       state, with checksums
points/<id>/                   what each point of the front needs to run
front.json  report.html        the result
lock                           held by the one process that writes here
```
"""

from moalign.runs.atomic import plain, read_json, write_bytes, write_json
from moalign.runs.checkpoints import check_state, read_state, steps_saved, write_state
from moalign.runs.directory import RunDirectory

__all__ = [
    "RunDirectory",
    "check_state",
    "plain",
    "read_json",
    "read_state",
    "steps_saved",
    "write_bytes",
    "write_json",
    "write_state",
]
