"""GET / and /page/...: the page for people, which is the same for everybody and holds nothing of anybody."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from bezel.service.scopes import OPEN, needs

router = APIRouter()
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "media-src": "data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}
"""Of every file of the page: only its own scripts run, it stands in nobody's frame, and it is asked for anew."""
_FILES = {
    each.name: (each.read_bytes(), _KINDS[each.name.rpartition(".")[2]])
    for each in (files("bezel.service") / "page").iterdir()
    if each.name.rpartition(".")[2] in _KINDS
}


def _serve(address: str, content: bytes, kind: str) -> None:
    """A route of its own for each file: there is no other address under /page that a stranger could ask for."""

    @needs(OPEN)
    async def file() -> Response:
        return Response(content, headers={**HEADERS, "content-type": kind})

    router.add_api_route(address, file, include_in_schema=False)


for _name, (_content, _kind) in _FILES.items():
    _serve("/" if _name == "index.html" else f"/page/{_name}", _content, _kind)
