"""A folder of the user's own with a common name: tests run beside it, and it must shadow nothing."""

raise RuntimeError("`rewards` here is not moalign.rewards")
