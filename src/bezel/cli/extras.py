"""Verbs whose packages are installed on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bezel.errors import MissingExtraError


@contextmanager
def explained(extra: str) -> Iterator[None]:
    """MissingExtraError with the line that installs what could not be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "bezel":
            raise
        raise MissingExtraError(f"{error.name} is not installed; run: pip install 'bezel[{extra}]'") from None
