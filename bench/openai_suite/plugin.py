"""For pytest in a checkout of openai-python: its tests' requests reach a server where other names and ids exist.

The tests are written for a mock that answers whatever is asked, so names of models, ids, the key, an audio file and a
purpose that exist here are put in place of theirs, and a model and an input where there are none. Parameters of
`differences.PARAMETERS` are left out. What was done to a case is written down with its outcome.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from bench.openai_suite.differences import PARAMETERS, QUERIES

_SETUP: dict[str, str] = json.loads(os.environ["BEZEL_SUITE"])
_MODELS = {"/embeddings": "embedder", "/audio/transcriptions": "hearer", "/audio/translations": "hearer"}
_PLACEHOLDERS = {"string", "file_id", "batch_id", "input_file_id"}
_case: dict[str, Any] = {}


def pytest_configure() -> None:
    """Put the substitutions in front of the hook that the client has for its subclasses."""
    sync, asynchronous = OpenAI._prepare_options, AsyncOpenAI._prepare_options

    def prepare(self: OpenAI, options: Any) -> Any:
        return sync(self, _fitted(options))

    async def prepare_async(self: AsyncOpenAI, options: Any) -> Any:
        return await asynchronous(self, _fitted(options))

    OpenAI._prepare_options, AsyncOpenAI._prepare_options = prepare, prepare_async  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    """The key that the server knows."""
    sys.modules["tests.conftest"].api_key = _SETUP["key"]  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, None]:
    """Begin a case."""
    mocked = "respx2_mock" in getattr(item, "fixturenames", ())
    _case.update(name=item.nodeid, mocked=mocked, outcome="passed", said="", without=[])
    yield
    with Path(_SETUP["report"]).open("a") as report:
        report.write(json.dumps(_case) + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """How it ended."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        _case.update(outcome="failed", said=report.longreprtext[-1500:])
    elif report.skipped:
        _case["outcome"] = "skipped"


def _fitted(options: Any) -> Any:
    """A request with names that exist here, without what is refused."""
    if _case["mocked"]:
        return options
    parts = options.url.split("/")
    if len(parts) > 2 and parts[1] in ("files", "batches") and parts[2] in _PLACEHOLDERS:
        parts[2] = _file() if parts[1] == "files" else _batch()
    elif options.method == "get" and parts[1:2] == ["models"] and len(parts) == 3:
        parts[2] = "tiny"
    options.url = "/".join(parts)
    options.params = {name: each for name, each in options.params.items() if name not in QUERIES.get(options.url, ())}
    if options.method == "post" and (options.json_data is not None or options.files):
        body = json.loads(json.dumps(options.json_data or {}, default=str))
        _fill(options.url, body)
        for path in PARAMETERS.get(options.url, {}):
            if _leave_out(body, path.removesuffix("[]")):
                _case["without"].append(path)
        options.json_data = body
        if options.files and options.url.startswith("/audio"):
            options.files = [("file", ("note.wav", Path(_SETUP["sound"]).read_bytes()))]
    return options


def _fill(url: str, body: dict[str, Any]) -> None:
    if url not in ("/files", "/batches", "/moderations"):
        body["model"] = _MODELS.get(url, "tiny")
    if url.startswith("/responses"):
        body.setdefault("input", "string")
    if url == "/files":
        body["purpose"] = "batch"
    if body.get("input_file_id") in _PLACEHOLDERS:
        body["input_file_id"] = _file()


def _leave_out(body: Any, path: str) -> bool:
    """Whether it was there: `path` as "a", "a.b", "a[0].b" or "a[b]"."""
    *parents, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]
    for parent in parents:
        if isinstance(body, list) and not (isinstance(parent, int) and parent < len(body)):
            return False
        body = body.get(parent) if isinstance(body, dict) else body[parent]
        if body is None:
            return False
    return isinstance(body, dict) and body.pop(last, None) is not None


def _file() -> str:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "tiny", "input": "a"}}
    parts = [b"--part", b'Content-Disposition: form-data; name="purpose"', b"", b"batch", b"--part"]
    parts += [b'Content-Disposition: form-data; name="file"; filename="a"', b"", json.dumps(line).encode(), b"--part--"]
    return _post("/files", b"\r\n".join(parts), "multipart/form-data; boundary=part")


def _batch() -> str:
    asked = {"input_file_id": _file(), "endpoint": "/v1/responses", "completion_window": "24h"}
    return _post("/batches", json.dumps(asked).encode(), "application/json")


def _post(path: str, body: bytes, kind: str) -> str:
    headers = {"authorization": f"Bearer {_SETUP['key']}", "content-type": kind}
    request = urllib.request.Request(_SETUP["url"] + path, body, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(json.load(reply)["id"])
