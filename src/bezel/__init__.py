"""bezel runs Google's Gemma models on a CPU."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "advise", "load"]

if TYPE_CHECKING:
    from bezel.api import Model, load
    from bezel.catalog.advisor import advise


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from bezel import api

        return getattr(api, name)
    if name == "advise":
        from bezel.catalog.advisor import advise

        return advise
    raise AttributeError(f"module 'bezel' has no attribute {name!r}")
