"""`python -m kgrad`: the same as the command `kgrad`."""

from kgrad.cli import main

main()
