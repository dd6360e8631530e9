"""HTML that could run something goes; all other text stays as it was written."""

from __future__ import annotations

import pytest

from bezel.errors import ContentBlockedError
from bezel.safety.content import ContentPolicy
from bezel.safety.markup import active, without_active

ACTIVE = [
    "hi <script>alert(1)</script> you",
    "<SCRIPT SRC=//x></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<img src=x\nonerror\n=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='java&#x73;cript:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<iframe src=x></iframe>",
    "<object data=x>",
    "<meta http-equiv=refresh content=0>",
    "<form action=x><input></form>",
    "<b style='x' onclick='y()'>b</b>",
    "<math><mtext></mtext></math>",
    "<a href='data:text/html,x'>x</a>",
    "<!-- <script> --> <script>x</script>",
    "<style>@import 'x'</style>",
    "<details open ontoggle=alert(1)>",
    '<a href="vbscript:x">x</a>',
]
PLAIN = [
    "if (a<b && c>d) { e = a<b; }",
    "vector<int> v; x << 3; a <= b & c",
    "<b>bold</b> <p class='x'>and <a href='https://example.org/?a=1&b=2'>a link</a></p>",
    "&lt;script&gt; is a tag",
    "turn on = 1, online=2",
    "write javascript: and onclick= in your file",
    "",
]


@pytest.mark.parametrize("text", ACTIVE)
def test_what_runs_is_removed(text: str) -> None:
    assert active(text)
    after = without_active(text).lower()
    for word in ("<script", "onerror", "onload", "onclick", "ontoggle", "javascript", "vbscript", "<iframe", "<object",
                 "<meta", "<form", "<svg", "<math", "<style", "data:text"):  # fmt: skip
        assert word not in after


@pytest.mark.parametrize("text", PLAIN)
def test_what_does_not_stays(text: str) -> None:
    assert not active(text) and without_active(text) == text


def test_what_is_shown_stays() -> None:
    assert without_active("hi <b>you</b><script>x</script> &amp; me") == "hi <b>you</b> &amp; me"


def test_a_policy_keeps_removes_or_blocks() -> None:
    told: list[tuple[str, ...]] = []
    text = "hi<script>x</script>"
    assert ContentPolicy().request_text(text, lambda *what: told.append(what)) == text
    assert ContentPolicy(html="remove").request_text(text, lambda *what: told.append(what)) == "hi"
    with pytest.raises(ContentBlockedError):
        ContentPolicy(html="block").request_text(text, lambda *what: told.append(what))
    assert told == [("active-html", "redact", "input"), ("active-html", "block", "input")]
    for plain in PLAIN:
        assert ContentPolicy(html="block").request_text(plain, lambda *_: None) == plain
