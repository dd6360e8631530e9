"""Bytes from data URLs, paths and the web, each only where allowed, and never more or longer than allowed."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bezel.errors import InvalidRequestError, MediaSourceError, MediaTimeoutError, MediaTooLargeError
from bezel.media import fetching, web
from bezel.media.fetching import Sources, fetch
from bezel.media.limits import Limits

BODY = bytes(range(256)) * 4
NOWHERE = Sources()


def data_url(body: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(body).decode()


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_data_urls(size: int) -> None:
    body = BODY[:size]
    assert fetch(data_url(body), NOWHERE, Limits(bytes=size)) == body
    assert fetch(data_url(body, "DATA:text/html;charset=x;BASE64,"), NOWHERE) == body
    if size > 1:
        with pytest.raises(MediaTooLargeError):
            fetch(data_url(body), NOWHERE, Limits(bytes=size - 1))


BROKEN = [
    *(
        "data:",
        "data:,abc",
        "data:image/png,abc",
        "data:;base64",
        "data:;base64,",
        "data:;base64,A",
        "data:;base64,AAA",
    ),
    *("data:;base64,AA==A", "data:;base64,AAAA====", "data:;base64,AA AA", "data:;base64,AAAA\n", "data:;base64,AA_-"),
    *("data:;base64,%41%41%41%41", "data:;base64,\u0410\u0410\u0410\u0410", "data:;base64,=AAA", "data:;base65,AAAA"),
    "data:" + "x" * 2000 + ";base64,AAAA",
]


@pytest.mark.parametrize("url", BROKEN)
def test_broken_data_urls(url: str) -> None:
    with pytest.raises(MediaSourceError, match="data URL"):
        fetch(url, NOWHERE)


def test_a_large_data_url_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.binascii, "a2b_base64", None)
    with pytest.raises(MediaTooLargeError):
        fetch("data:;base64," + "A" * 4096, NOWHERE, Limits(bytes=1024))


def test_paths_where_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a:b.png"
    file.write_bytes(BODY)
    monkeypatch.chdir(tmp_path)
    files = Sources(files=True)
    for source in (file, str(file), Path("a:b.png"), "./a:b.png"):
        assert fetch(source, files, Limits(bytes=1024)) == BODY
        with pytest.raises(MediaSourceError, match="paths are not read here"):
            fetch(source, NOWHERE)
    with pytest.raises(MediaTooLargeError, match=r"a:b\.png"):
        fetch(file, files, Limits(bytes=1023))
    for source in ("file:///etc/hosts", "ftp://a/b"):
        with pytest.raises(MediaSourceError, match="addresses are not read"):
            fetch(source, files)


@pytest.mark.parametrize("name", ["chart:1.png", "12:30.png", "file:a.png", "C:\\a.png", "a b://c.png"])
def test_a_name_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    if "/" not in name:
        Path(name).write_bytes(BODY)
        assert fetch(name, Sources(files=True)) == BODY
    with pytest.raises(MediaSourceError, match="paths are not read here"):
        fetch(name, NOWHERE)


@pytest.mark.parametrize("source", ["iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB" * 2_000, "some/folder/" * 20 + "a.png"])
def test_a_long_path_is_not_repeated_in_whole(source: str) -> None:
    with pytest.raises(MediaSourceError) as caught:
        fetch(source, Sources(files=True))
    assert source[:90] in str(caught.value) and len(str(caught.value)) < 200
    assert ("base64" in str(caught.value)) == (len(source) > 9_000)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_a_folder_is_closed_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(MediaSourceError, match="not a file; name a picture"):
            fetch(tmp_path, Sources(files=True))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "missing", Path("a\0b")):
        with pytest.raises(MediaSourceError, match=r"not a file|cannot be read"):
            fetch(source, Sources(files=True))


def test_the_web_is_off_by_default() -> None:
    for url in ("http://example.com/a.png", "https://example.com/a.png", "HTTP://example.com"):
        with pytest.raises(MediaSourceError, match="not fetched here"):
            fetch(url, Sources(files=True))
    with pytest.raises(InvalidRequestError):
        Sources(redirects=11)


class Server:
    """Answers each connection with the next of `answers`, as bytes or as a function of the connection."""

    def __init__(self) -> None:
        self.answers: list[bytes | Callable[[socket.socket], None]] = []
        self.requests: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.wrap: Callable[[socket.socket], socket.socket] = lambda raw: raw
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), raw, self.wrap(raw) as connection:
                self.requests.append(connection.recv(1 << 16))
                answer = self.answers.pop(0)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The one place on loopback that counts as public; every name leads there."""
    one = Server()
    monkeypatch.setattr(web, "is_public", lambda address: str(address) == "127.0.0.1")
    asked: list[str] = []

    def ask(host: str, port: int, **rest: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(None, None, None, "", ("10.0.0.1" if host.startswith("private") else "127.0.0.1", port))]

    monkeypatch.setattr(web.socket, "getaddrinfo", ask)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    yield one
    one.close()


def get(server: Server, path: str = "/a.png?b=c", seconds: float = 5, most: int = 4096, redirects: int = 3) -> bytes:
    web = Sources(web=True, ports=frozenset({server.port}), seconds=seconds, redirects=redirects)
    return fetch(f"http://pictures.example:{server.port}{path}", web, Limits(bytes=most))


def whole(body: bytes, *lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n".encode()


def test_a_file_of_the_web(server: Server) -> None:
    server.answers = [whole(BODY, "Content-Type: text/html", "Set-Cookie: a=b")]
    assert get(server) == BODY
    (request,) = server.requests
    assert request.startswith(b"GET /a.png?b=c HTTP/1.1\r\n")
    assert f"Host: pictures.example:{server.port}\r\n".encode() in request
    assert b"Cookie" not in request and b"Accept-Encoding: identity" in request


def test_chunks_and_bodies_without_a_length(server: Server) -> None:
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (BODY[:100], BODY[100:], b""))
    server.answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ]
    assert get(server) == BODY and get(server) == BODY


def test_too_much(server: Server) -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 16))

    server.answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n",
        pour,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + bytes(0xFFFF),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ]
    while server.answers:
        with pytest.raises(MediaTooLargeError, match="4,096 bytes"):
            get(server)
    server.answers = [whole(bytes(4096))]
    assert len(get(server)) == 4096


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + bytes(49), "ended before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + bytes(49), "cannot be read"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404"),
        (b"HTTP/1.1 206 Partial\r\n\r\nabc", "answered 206"),
        (whole(BODY, "Content-Encoding: gzip"), "compressed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be read"),
        (b"", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * (1 << 17), "cannot be read"),
    ],
)
def test_answers_that_are_not_used(server: Server, answer: bytes, words: str) -> None:
    server.answers = [answer]
    with pytest.raises(MediaSourceError, match=words):
        get(server)


def test_redirects_are_followed_a_few_times(server: Server) -> None:
    server.answers = [moved("/b", 301), moved(f"//other.example:{server.port}/c", 307), moved("d", 308), whole(BODY)]
    assert get(server) == BODY
    paths = [request.split()[1] for request in server.requests]
    assert paths == [b"/a.png?b=c", b"/b", b"/c", b"/d"]
    assert b"Host: other.example" in server.requests[3] and b"Cookie" not in b"".join(server.requests)
    server.answers = [moved("/again")] * 4
    with pytest.raises(MediaSourceError, match="more than 3 redirects"):
        get(server)
    server.answers = [moved("/again")]
    with pytest.raises(MediaSourceError, match="more than 0 redirects"):
        get(server, redirects=0)


ELSEWHERE = [
    *("http://private.example:{port}/", "http://127.0.0.2:{port}/", "http://[::1]:{port}/", "file:///etc/passwd"),
    *("http://user@pictures.example:{port}/", "http://pictures.example:22/", "http://[", "http://2130706433:{port}/"),
    *("data:;base64,AAAA", "http://localhost.:{port}/", "ftp://a/"),
]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_each_redirect_is_checked_again(server: Server, to: str) -> None:
    server.answers = [moved(to.replace("{port}", str(server.port)))]
    with pytest.raises(MediaSourceError):
        get(server)
    assert len(server.requests) == 1


def test_a_name_is_asked_once_and_its_address_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere the second time (DNS rebinding) has no second time."""
    answers = iter(["127.0.0.1", "10.0.0.1"])
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (next(answers), port))])
    server.answers = [whole(BODY)]
    assert get(server) == BODY
    assert next(answers) == "10.0.0.1"


def drip(first: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.05)

    return send


STATUS = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("first", [b"", STATUS + b"A: ", STATUS + b"\r\n", STATUS + b"Content-Length: 999\r\n\r\n"])
def test_a_peer_that_sends_a_byte_now_and_then(server: Server, first: bytes) -> None:
    server.answers = [drip(first)]
    began = time.perf_counter()
    with pytest.raises(MediaTimeoutError, match=r"within 0\.4 s"):
        get(server, seconds=0.4)
    assert time.perf_counter() - began < 2


def test_a_peer_that_says_nothing_and_a_resolver_that_hangs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [lambda connection: time.sleep(2)]
    with pytest.raises(MediaTimeoutError):
        get(server, seconds=0.3)
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda *_, **__: time.sleep(1.5) or [])
    began = time.perf_counter()
    with pytest.raises((MediaTimeoutError, MediaSourceError)):
        get(server, seconds=0.3)
    assert time.perf_counter() - began < 1.2


def test_nobody_there(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        server.port = gone.getsockname()[1]
    with pytest.raises(MediaSourceError, match="no connection"):
        get(server)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For pictures.example."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=pictures.example",
    ]
    command += ["-addext", "subjectAltName=DNS:pictures.example", "-out", str(files[0]), "-keyout", str(files[1])]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    return files


def test_tls_is_for_the_name(server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(*certificate)
    names: list[str | None] = []
    here.sni_callback = lambda connection, name, context: names.append(name)
    server.wrap = lambda raw: here.wrap_socket(raw, server_side=True)
    allowed = Sources(web=True, ports=frozenset({server.port}), seconds=5)
    url = f"https://pictures.example:{server.port}/"
    with pytest.raises(MediaSourceError, match="no trusted connection"):
        fetch(url, allowed)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    monkeypatch.setattr(web.ssl, "create_default_context", lambda: trusting)
    server.answers = [whole(BODY), moved(f"http://pictures.example:{server.port}/")]
    assert fetch(url, allowed) == BODY
    assert names[-1] == "pictures.example"
    with pytest.raises(MediaSourceError, match="from https to http"):
        fetch(url, allowed)
    with pytest.raises(MediaSourceError, match="no trusted connection"):
        fetch(f"https://other.example:{server.port}/", allowed)
