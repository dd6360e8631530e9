"""The page in a real browser: what a newcomer does, and what a stranger's text must not do.

With $BEZEL_SCREENSHOTS the pictures of docs/images are made anew there.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bezel.backends.interface import Delta
from bezel.backends.native import NativeBackend
from bezel.testing import CounterBackend, instruction_sets
from tests.service.live import TOOLS, wait_until

sync = pytest.importorskip("playwright.sync_api")
expect = sync.expect
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 60_000
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> **bold**"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Sensing(CounterBackend):
    """A counter that says that it sees and hears."""

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), "images": True, "sounds": True}


class Hostile(CounterBackend):
    """Answers in markup."""

    def _pieces(self, request: Any) -> Iterator[tuple[Any, ...]]:
        yield (Delta(HOSTILE),)


class Unhurried(NativeBackend):
    """Tokens that come slower than frames are drawn."""

    def stream(self, request: Any) -> Any:
        return Slow(super().stream(request))


class Slow:
    def __init__(self, events: Any) -> None:
        self._events, self.close = events, events.close

    def __iter__(self) -> Iterator[Any]:
        for event in self._events:
            time.sleep(0.05)
            yield event


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, "--disable-sync"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab; whatever its console complains of is an error, but for a key that is not there yet."""
    context = browser.new_context(viewport={"width": 1180, "height": 760}, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert [each for each in complaints if not re.search(r"status of (401|403|500)", each)] == []


def ask(page: Any, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answered(page: Any, count: int) -> Any:
    """The last of so many answers, whole."""
    answers = page.locator("article.assistant")
    expect(answers).to_have_count(count)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    return answers.nth(count - 1)


def shoot(page: Any, name: str) -> None:
    folder = os.environ.get("BEZEL_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / name))


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_newcomer(page: Any, start: Any) -> None:
    live = start(backends={"tiny": Unhurried.load("tiny", threads=1)})
    page.goto(live.url)
    page.get_by_label("Key", exact=True).fill(live.secret)
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_label("Model")).to_have_value("tiny")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    assert page.evaluate("[sessionStorage.getItem('bezel-key'), localStorage.length, document.cookie]") == [
        live.secret,
        0,
        "",
    ]
    page.evaluate(
        """() => { window.lengths = new Set();
        const length = () => document.querySelector('article.assistant .text')?.textContent.length;
        new MutationObserver(() => window.lengths.add(length()))
            .observe(document.getElementById('messages'), { childList: true, subtree: true }); }"""
    )
    page.get_by_label("Temperature").fill("0")
    ask(page, "What is 17 + 25?")
    expect(answered(page, 1).locator(".text")).to_contain_text("42")
    expect(answered(page, 1).locator(".hint")).to_contain_text(re.compile(r"\d+ tokens · first after"))
    assert len(page.evaluate("[...window.lengths]")) > 2, "the text grows while it is read"
    expect(page.locator("#said")).to_contain_text("42")
    page.get_by_role("button", name="New chat").click()
    page.get_by_text("Tools", exact=True).click()
    page.get_by_label("Schemas").fill(json.dumps([WEATHER], indent=1))
    ask(page, "What is the weather in Oslo?")
    call = answered(page, 1).get_by_role("figure", name="Call of get_weather")
    expect(call).to_contain_text('"city": "Oslo"')
    shoot(page, "page-chat.png")
    page.get_by_role("link", name="Dashboard").click()
    expect(page.locator(".tile").filter(has_text="Requests")).to_contain_text("2")
    expect(page.get_by_role("img", name=re.compile("^Tokens a second"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^all "))).to_contain_text("2")
    expect(page.get_by_role("status").filter(has_text="All is well")).to_be_visible()


def test_the_dashboard_goes_on(page: Any, start: Any) -> None:
    slow = CounterBackend(count=40, delay=0.02)
    live = start(backends={"counter": slow}, watched={"alert_window_seconds": 60.0, "quality_share": 1.0})
    assert live.server.keys is not None
    keys = [live.bearer(live.server.keys.create(name)[0]) for name in ("classroom", "notes", "office")]
    page.goto(f"{live.url}/#dashboard")
    page.get_by_label("Key", exact=True).fill(live.secret)
    page.get_by_role("button", name="Use it").click()
    requests = page.locator(".tile").filter(has_text="Requests").locator("dd").first
    expect(requests).to_have_text("0")
    expect(page.get_by_role("table", name="Quality")).to_have_count(0)
    live.chat(keys[0])
    expect(requests).to_have_text("1")
    expect(page.get_by_role("table", name="Quality").get_by_role("row").nth(1)).to_contain_text("coherence0.61")
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 17, 22)"
    page.reload()
    expect(page.get_by_role("button", name="Dark theme")).to_have_attribute("aria-pressed", "true")
    if os.environ.get("BEZEL_SCREENSHOTS"):
        page.set_viewport_size({"width": 1180, "height": 980})
        for count in range(20):
            several = [threading.Thread(target=live.chat, args=(key,)) for key in keys[: 1 + count % 3]]
            for each in several:
                each.start()
            for each in several:
                each.join()
        page.wait_for_timeout(500)
        shoot(page, "page-dashboard.png")


def test_escape_stops_and_the_lane_is_free(page: Any, start: Any) -> None:
    live = start(backends={"counter": CounterBackend(count=4000, delay=0.01)}, no_auth=True)
    page.goto(live.url)
    expect(page.locator("#model-facts")).to_contain_text("takes text")
    expect(page.locator("#attach-image")).to_be_hidden()
    message = page.get_by_label("Message", exact=True)
    message.fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.locator("article.user .text")).to_have_text("one\ntwo")
    expect(page.locator("article.assistant .text")).to_contain_text("5")
    page.keyboard.press("Escape")
    expect(answered(page, 1).locator(".hint")).to_contain_text("stopped")
    wait_until(lambda: live.lanes().running == 0)


def test_what_is_attached_is_sent(page: Any, start: Any, tmp_path: Path) -> None:
    sensing = Sensing()
    live = start(backends={"counter": sensing}, no_auth=True)
    picture, sound = b"\x89PNG\r\n\x1a\n", b"RIFF"
    page.goto(live.url)
    page.get_by_label("Attach images").set_input_files({"name": "cat.png", "mimeType": "image/png", "buffer": picture})
    page.get_by_label("Attach sounds").set_input_files({"name": "a.wav", "mimeType": "audio/wav", "buffer": sound})
    expect(page.locator("#attached li")).to_have_count(2)
    page.get_by_label("System message").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    ask(page, "What is this?")
    answered(page, 1)
    assert sensing.asked is not None and sensing.asked.messages is not None
    system, user = sensing.asked.messages
    assert system["content"] == "Be brief." and sensing.asked.sampling.temperature == 0.5
    assert [part["type"] for part in user["content"]] == ["image_url", "input_audio", "text"]
    assert user["content"][0]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert user["content"][1]["input_audio"] == {"data": "UklGRg==", "format": "wav"}


def test_what_calls_gave_goes_back(page: Any, start: Any) -> None:
    counter = CounterBackend(count=3)
    live = start(backends={"counter": counter}, no_auth=True)
    page.goto(live.url)
    page.get_by_text("Tools", exact=True).click()
    page.get_by_label("Schemas").fill(json.dumps(TOOLS))
    page.get_by_role("combobox", name="Use").select_option("required")
    ask(page, "Count")
    page.get_by_label("Result of count_up").fill("up")
    page.get_by_label("Result of count_down").fill("down")
    page.get_by_role("button", name="Send results").click()
    expect(answered(page, 2).locator(".text")).to_contain_text("3")
    assert counter.asked is not None and counter.asked.messages is not None
    said = [(message["role"], message.get("content")) for message in counter.asked.messages[2:]]
    assert said == [("tool", "up"), ("tool", "down")] and counter.asked.tool_choice == "auto"
    ask(page, "Again")
    answered(page, 3)
    ask(page, "Never mind")
    expect(answered(page, 4).locator(".calls")).to_contain_text("count_up")
    assert [message.get("content") for message in counter.asked.messages[-3:]] == ["not executed"] * 2 + ["Never mind"]
    expect(page.get_by_role("button", name="Send results")).to_have_count(1)


def test_content_is_text(page: Any, start: Any) -> None:
    live = start(backends={"hostile": Hostile()}, no_auth=True)
    page.goto(live.url)
    ask(page, HOSTILE)
    text = answered(page, 1).locator(".text")
    expect(text).to_contain_text("<img src=x onerror=")
    expect(text.locator("strong")).to_have_text("bold")
    expect(page.locator("article.user .text")).to_have_text(HOSTILE)
    assert page.locator("#messages :is(img, script)").count() == 0 and page.title() == "bezel"


def test_what_is_refused_is_said_and_nothing_is_lost(page: Any, start: Any) -> None:
    live = start(backends={"counter": CounterBackend(failure=RuntimeError("secret"))}, rate_limit=0)
    page.goto(live.url)
    page.get_by_label("Key", exact=True).fill("bz-wrong")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#key-problem")).to_contain_text("wrong, expired or revoked")
    plain = live.key("generate", "models")["authorization"].removeprefix("Bearer ")
    page.get_by_label("Key", exact=True).fill(plain)
    page.get_by_role("button", name="Use it").click()
    page.get_by_text("Tools", exact=True).click()
    page.get_by_label("Schemas").fill("{no json")
    ask(page, "Hello")
    expect(page.locator("#tools-error")).to_contain_text("This is no JSON")
    page.get_by_label("Schemas").fill(json.dumps(TOOLS))
    page.get_by_label("Message", exact=True).press("Enter")
    expect(page.locator("#problem")).to_contain_text("Something went wrong here")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello")
    page.get_by_role("link", name="Dashboard").click()
    expect(page.locator("#dashboard-problem")).to_contain_text("--scope metrics")
