"""Which scope a route needs. A route that does not say so is never served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from bezel.service.keys import SCOPES

OPEN = "open"
"""Anybody may ask: only whether the server lives."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
JSON = "application/json"
FORM = "multipart/form-data"
_NAME = "bezel_scope"
_TAKES = "bezel_takes"


def needs(scope: str, takes: str = JSON) -> Callable[[Endpoint], Endpoint]:
    """Declare the scope of an endpoint, and the media type of the bodies that it takes."""
    if scope not in (*SCOPES, OPEN):
        raise ValueError(f"{scope!r} is no scope")

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _NAME, scope)
        setattr(endpoint, _TAKES, takes)
        return endpoint

    return mark


def scope_of(route: BaseRoute) -> str | None:
    """The scope of a route; None where it has none, or is no plain route."""
    return getattr(route.endpoint, _NAME, None) if isinstance(route, Route) else None


def takes_of(route: BaseRoute | None) -> str:
    """The media type of the bodies that a route takes."""
    return getattr(route.endpoint, _TAKES, JSON) if isinstance(route, Route) else JSON


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """RuntimeError naming a route without a scope: a mistake of ours, which must not be served."""
    for route in routes:
        if scope_of(route) is None:
            raise RuntimeError(f"{getattr(route, 'path', route)} declares no scope; put @needs(...) on its endpoint")


def matched(routes: Iterable[BaseRoute], scope: Scope) -> Route | None:
    """The route of a request's path, whatever its method."""
    partial = None
    for route in routes:
        match, _ = route.matches(scope)
        if isinstance(route, Route) and match is Match.FULL:
            return route
        if isinstance(route, Route) and match is Match.PARTIAL and partial is None:
            partial = route
    return partial
