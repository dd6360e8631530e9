"""`python -m bezel.cli`."""

from bezel.cli.main import main

main()
