"""What the examples' command lines share: `run(main, __doc__)` calls main with what was typed, or says what to type."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable

from bezel.errors import BezelError


def run(main: Callable[..., None], about: str) -> None:
    """Leaves with status 2 where main takes other arguments, and with 1 and one line for an error of bezel's.

    `about`: a docstring with the command in it, "python examples/NAME.py ARGUMENT [ARGUMENT]".
    """
    try:
        inspect.signature(main).bind(*sys.argv[1:])
    except TypeError:
        print("usage:", re.search(r"python examples/.*", about)[0], file=sys.stderr)
        sys.exit(2)
    try:
        main(*sys.argv[1:])
    except BezelError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
