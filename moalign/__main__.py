"""``python -m moalign`` is the command ``moalign``."""

from moalign.cli import main

main()
