"""What is refused before anybody looks at it, and the headers of every answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from bezel.service.layers.hosts import name_of
from tests.service.live import CHAT, Live


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "a@localhost"]
)
def test_another_name_than_the_servers_is_refused(live: Live, host: str) -> None:
    response = live.client.get("/health", headers={"host": host})
    assert response.status_code == 421 and response.json()["error"]["code"] == "misdirected_request"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000"])
def test_its_own_names_are_taken(live: Live, host: str) -> None:
    assert live.client.get("/health", headers={"host": host}).status_code == 200


def test_the_name_of_a_host() -> None:
    assert [name_of(text) for text in ("A:1", "[::1]:80", "a:b", "[::1", "[::1]x")] == [
        "a",
        "::1",
        "a:b",
        "[::1",
        "[::1]x",
    ]


def test_other_names_may_be_allowed(start: Callable[..., Live]) -> None:
    live = start(allowed_hosts=("api.example",))
    assert live.client.get("/health", headers={"host": "api.example:443"}).status_code == 200
    assert live.client.get("/health", headers={"host": "other.example"}).status_code == 421
    assert start(allowed_hosts=("*",)).client.get("/health", headers={"host": "other.example"}).status_code == 200


def test_large_bodies_are_refused_said_or_not(start: Callable[..., Live]) -> None:
    live = start(max_body_bytes=2048)
    said = live.chat(messages=[{"role": "user", "content": "x" * 4000}])
    assert said.status_code == 413 and said.json()["error"]["code"] == "request_too_large"

    def blocks() -> Iterator[bytes]:
        text = json.dumps({**CHAT, "messages": [{"role": "user", "content": "x" * 4000}]}).encode()
        yield from (text[place : place + 500] for place in range(0, len(text), 500))

    headers = {"content-type": "application/json"}
    unsaid = live.client.post("/v1/chat/completions", content=blocks(), headers=headers)
    assert unsaid.status_code == 413 and unsaid.json()["error"]["code"] == "request_too_large"
    assert live.chat().status_code == 200


def test_slow_bodies_are_refused(start: Callable[..., Live]) -> None:
    live = start(body_seconds=0.2)
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Authorization: Bearer {live.secret}\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        assert b"408" in connection.recv(100).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_what_is_no_json_is_refused(live: Live, headers: dict[str, str]) -> None:
    response = live.client.post("/v1/chat/completions", content=json.dumps(CHAT), headers=headers)
    assert response.status_code == 415 and response.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'"a"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000]
)
def test_broken_bodies_are_told_so(live: Live, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = live.client.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400 and response.json()["error"]["code"] == "VALIDATION_ERROR"


def test_every_answer_has_an_id_and_its_time(live: Live) -> None:
    response = live.chat()
    assert response.headers["x-request-id"].startswith("req_") and int(response.headers["openai-processing-ms"]) >= 0
    assert live.chat({"x-request-id": "my-id_1.2345"}).headers["x-request-id"] == "my-id_1.2345"
    for strange in ("short", "a b c d e f g h", "x" * 200, 'quote"quote'):
        assert live.chat({"x-request-id": strange}).headers["x-request-id"].startswith("req_")
    refused = live.client.get("/none")
    assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]


def test_pages_of_other_origins_are_not_let_in_unless_named(live: Live, start: Callable[..., Live]) -> None:
    ask = {"origin": "https://a.example", "access-control-request-method": "POST"}
    closed = live.client.options("/v1/chat/completions", headers={**ask, "authorization": ""})
    assert closed.status_code == 401 and "access-control-allow-origin" not in closed.headers
    opened = start(allowed_origins=("https://a.example",)).client
    sent = {"access-control-request-headers": "authorization,content-type,x-stainless-lang"}
    for method in ("GET", "POST", "DELETE"):
        asked = {**ask, **sent, "access-control-request-method": method}
        allowed = opened.options("/v1/chat/completions", headers=asked)
        assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://a.example"
    other = opened.options("/v1/chat/completions", headers={**ask, "origin": "https://b.example"})
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


def test_a_body_of_two_lengths_is_refused_and_nothing_behind_it_is_read(live: Live) -> None:
    """A proxy may take the other length, and the rest for a request of somebody else (RFC 9112, section 6.1)."""
    asked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as connection:
        connection.sendall(asked)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1


def test_a_websocket_is_closed(live: Live) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    response = live.client.get(
        "/v1/models", headers={**upgrade, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "authorization": ""}
    )
    assert response.status_code in (401, 403)
