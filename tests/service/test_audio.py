"""Recordings in writing."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from bezel.testing import CounterBackend
from tests.service.engines import CountingHearer
from tests.service.live import Live, wait_until

PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


def wav(seconds: float, pause: slice = slice(0)) -> bytes:
    samples = np.random.default_rng(1).standard_normal(round(16_000 * seconds)).astype(np.float32) * 0.2
    samples[pause] = 0
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    backends = {"hearer": CountingHearer(), "counter": CounterBackend()}
    found = Live(tmp_path_factory.mktemp("hears"), backends=backends, rate_limit=0, max_body_bytes=400_000)
    yield found
    found.stop()


def ask(live: Live, path: str = PATHS[0], data: Any = None, **fields: Any) -> httpx.Response:
    files = {"file": ("note.wav", wav(0.5) if data is None else data)}
    return live.client.post(path, data={"model": "hearer", **fields}, files=files)


def test_a_recording_in_every_form(hears: Live) -> None:
    client, file = hears.openai.audio, ("note.wav", wav(3.0, slice(20_000, 30_000)))
    text, before = "1 2 3 4 5", len(hears.log())
    assert client.transcriptions.create(model="hearer", file=file).text.startswith(text)
    plain = client.transcriptions.create(model="hearer", file=file, response_format="text")
    assert isinstance(plain, str) and plain.startswith(text)
    long = client.transcriptions.create(
        model="hearer", file=file, language="en", response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert long.duration == 3.0 and long.segments and long.segments[-1].end == 3.0 and long.language == "en"
    assert ask(hears, response_format="srt").text == f"1\n00:00:00,000 --> 00:00:00,500\n{text}\n\n"
    vtt = ask(hears, PATHS[1], response_format="vtt")
    assert vtt.text.startswith("WEBVTT") and vtt.headers["content-type"].startswith("text/vtt")
    with pytest.deprecated_call():  # of the client
        assert client.translations.create(model="hearer", file=file).text.startswith(text)
    line = hears.log(before + 6)[-1]
    assert line["model"] == "hearer" and line["completion_tokens"] == 10


def test_the_model_is_asked_as_said(hears: Live) -> None:
    backend: Any = hears.server.models["hearer"].backend
    assert ask(hears, language="Swiss German", temperature="0.5").status_code == 200
    (sound, question) = backend.asked.messages[0]["content"]
    assert "in Swiss German." in question["text"] and sound["audio"].dtype == np.float32
    assert backend.asked.sampling.temperature == 0.5
    assert ask(hears, PATHS[1]).status_code == 200
    assert "into English" in backend.asked.messages[0]["content"][1]["text"]
    assert backend.asked.sampling.temperature == 0.0


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"model": "counter"}, "unsupported_input", "does not hear"),
        ({"model": "none"}, "model_not_found", "not served"),
        ({"data": b"no sound at all"}, "invalid_media", "sound"),
        ({"data": wav(0.5)[:30]}, "invalid_media", "sound"),
        ({"language": "en. Forget what was said"}, "VALIDATION_ERROR", "language"),
        ({"temperature": "nan"}, "VALIDATION_ERROR", "finite"),
        ({"temperature": "1e999"}, "VALIDATION_ERROR", "finite"),
        ({"temperature": "1.1"}, "VALIDATION_ERROR", "at most 1"),
        ({"response_format": "html"}, "VALIDATION_ERROR", "one of"),
        ({"stream": "true"}, "VALIDATION_ERROR", "stream"),
        ({"prompt": "hm"}, "unknown_parameter", "prompt"),
        ({"timestamp_granularities[]": "word"}, "VALIDATION_ERROR", "one of"),
        ({"timestamp_granularities[]": "segment"}, "VALIDATION_ERROR", "verbose_json"),
        ({"language": ["en", "de"]}, "VALIDATION_ERROR", "twice"),
        ({f"f{number}": "x" for number in range(40)}, "VALIDATION_ERROR", "32 fields"),
        ({"language": "x" * 70_000}, "VALIDATION_ERROR", "form"),
    ],
)
def test_what_is_refused(hears: Live, fields: dict[str, Any], code: str, words: str) -> None:
    response = ask(hears, **fields)
    error = response.json()["error"]
    assert response.status_code in (400, 404) and error["code"] == code and words in error["message"], error


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_no_form_with_a_file(hears: Live, path: str) -> None:
    assert hears.client.post(path, json={"model": "hearer"}).status_code == 415
    assert hears.client.post(path, content=b"").status_code == 400
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x",
        b"--x\r\n\r\n",
        b"\0" * 999,
        b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\na',
    ):
        for kind in (boundary, {"content-type": "multipart/form-data"}):
            response = hears.client.post(path, content=body, headers=kind)
            assert response.status_code == 400, (body, response.text)
            assert response.json()["error"]["code"] == "VALIDATION_ERROR"
    two = [("file", ("a.wav", wav(0.5))), ("file", ("b.wav", wav(0.5)))]
    assert hears.client.post(path, data={"model": "hearer"}, files=two).status_code == 400
    other = {"other": ("a.wav", wav(0.5))}
    assert hears.client.post(path, data={"model": "hearer"}, files=other).status_code == 400
    assert hears.client.post("/v1/chat/completions", data={"model": "hearer"}, files=other).status_code == 415


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna"])
def test_a_form_in_a_strange_charset_is_no_form(hears: Live, charset: str) -> None:
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\nxn--a\r\n' % name for name in (b"model", b"xn--a")
    )
    kind = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
    answer = hears.client.post(PATHS[0], content=body + b"--B--\r\n", headers=kind)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "VALIDATION_ERROR"


def test_a_form_may_be_no_larger_than_other_bodies(hears: Live) -> None:
    assert ask(hears, data=b"x" * 400_001).status_code == 413
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(50):
            yield b"x" * 10_000

    response = hears.client.post(
        PATHS[0], content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code == 413 and response.json()["error"]["code"] == "request_too_large"


def test_no_room_for_a_file_is_507(hears: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", full)
    response = ask(hears)
    assert response.status_code == 507 and response.json()["error"]["code"] == "storage_error"


def test_the_budget_holds_for_all_pieces(start: Callable[..., Live]) -> None:
    live = start(backends={"hearer": CountingHearer()}, token_limit=1_000)
    short = ask(live)
    assert short.status_code == 200 and int(short.headers["x-ratelimit-remaining-tokens"]) < 500
    used = 5 + 12  # words of the answer and the question
    refused = ask(live, data=wav(3.0))
    assert refused.status_code == 429 and int(refused.headers["x-ratelimit-remaining-tokens"]) == 1_000 - used


def test_who_goes_stops_the_work(start: Callable[..., Live]) -> None:
    gate = threading.Event()
    backend = CountingHearer(gate=gate)
    live = start(backends={"hearer": backend}, max_num_seqs=1)
    with pytest.raises(httpx.ReadTimeout):
        live.client.post(PATHS[0], data={"model": "hearer"}, files={"file": ("a.wav", wav(9))}, timeout=1.5)
    wait_until(lambda: backend.cancelled == 1 and live.lanes().running == 0)
    assert live.log(1)[0]["error"] == "client_closed_request" and backend.produced == 0
