"""Does moving the weights beat fixed ones? Arms × tasks × paired seeds, and the page that says so: `make results`.

`tasks` says on what, `arms` what is compared, `controls` the weights of the control arms, `plan` which runs there are
and in which order, `one` makes a run and its record, `queue` runs them side by side, `statistics` and `measures` turn
records into figures, `page` writes docs/results.md. Records are raw JSON under docs/results, one file a run.
"""
