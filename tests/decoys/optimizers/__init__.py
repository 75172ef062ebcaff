"""A folder of the user's own with a common name: tests run beside it, and it must shadow nothing."""

raise RuntimeError("`optimizers` here is not moalign.optimizers")
