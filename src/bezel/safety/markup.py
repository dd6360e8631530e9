"""HTML in texts that could run something where it is shown: scripts, frames, handlers of events, addresses of code."""

from __future__ import annotations

import html
import re

from bezel.errors import MissingExtraError

_TAG = re.compile(r"<[a-zA-Z/!?]")
_ELEMENT = re.compile(
    r"<[\s/]*(?:script|iframe|frame|frameset|object|embed|applet|meta|link|base|form|svg|math|style|template|noscript"
    r"|portal|xml|animate|set|foreignobject|isindex|marquee|plaintext|xmp|listing)\b",
    re.IGNORECASE,
)
_HANDLER = re.compile(r"[\s/\"'`]on[a-z]{3,30}\s{0,8}=", re.IGNORECASE)
_CODE = re.compile(r"(?:javascript|vbscript|livescript):|data:(?:text/(?:html|xml)|image/svg|application/x?html)", re.I)
_UNSEEN = re.compile(r"[\x00-\x20]+")


def check_installed() -> None:
    """MissingExtraError where nh3 is not there."""
    try:
        import nh3  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError(
            "active_html needs nh3, which is not installed; run: pip install 'bezel[policy]'"
        ) from None


def active(text: str) -> bool:
    """Whether a text has tags, and among them something that may run; a tag that is only spoken of may count too."""
    if not _TAG.search(text):
        return False
    if _ELEMENT.search(text) or _HANDLER.search(text):
        return True
    return bool(_CODE.search(_UNSEEN.sub("", html.unescape(text))))


def without_active(text: str) -> str:
    """A text that is `active` with only such HTML as shows text, links and images, as a browser would read it.

    Comments go too, and what stands inside of scripts and styles; &, < and > are written as entities. Others stay.
    """
    import nh3

    return nh3.clean(text, link_rel=None) if active(text) else text
