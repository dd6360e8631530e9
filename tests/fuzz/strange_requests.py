"""Requests that nobody should send, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.wire import Asked
from tests.service.test_audio import wav
from tests.service.test_numbers import HOSTILE, RAW

MESSAGES = [{"role": "user", "content": "one two three"}]
TOOL = {"type": "function", "function": {"name": "count_up", "parameters": {"type": "object"}}}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        **{"model": "counter", "messages": MESSAGES, "max_tokens": 3, "n": 1, "temperature": 1, "stop": ["x"]},
        **{"tools": [TOOL], "tool_choice": "none", "stream": False, "logprobs": True, "top_logprobs": 2, "seed": 1},
        **{"logit_bias": {"1": 1}, "response_format": {"type": "text"}, "stream_options": {"include_usage": True}},
    },
    "/v1/completions": {"model": "counter", "prompt": ["a", "b"], "max_tokens": 2, "echo": True, "n": 2},
    "/v1/responses": {"model": "counter", "input": [{"role": "user", "content": "a"}], "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"model": "counter", "input": "a", "instructions": "b"},
    "/v1/embeddings": {"model": "embedder", "input": ["a", "b c"], "dimensions": 2, "encoding_format": "base64"},
    "/v1/batches": {"input_file_id": "file-none", "endpoint": "/v1/completions", "completion_window": "24h"},
    "/api/chat": {"model": "counter", "messages": MESSAGES, "stream": False, "options": {"num_predict": 2}},
    "/api/generate": {"model": "counter", "prompt": "a", "raw": True, "format": "json", "images": None},
    "/api/show": {"model": "counter"},
    "/v1/moderations": {"input": ["a", "b"], "model": "omni-moderation-latest"},
    "/tokenize": {"model": "counter", "messages": MESSAGES, "tools": [TOOL]},
    "/detokenize": {"model": "counter", "tokens": [1, 2]},
}
FORMS = {
    "/v1/files": {"purpose": "batch"},
    "/v1/audio/transcriptions": {"model": "hearer", "response_format": "json", "language": "en"},
    "/v1/audio/translations": {"model": "hearer"},
}
GETS = (
    *("/health", "/ready", "/", "/page/app.js", "/v1/models", "/v1/models/counter", "/v1/files?limit=2", "/version"),
    *("/v1/files/file-none", "/v1/files/file-none/content", "/v1/batches", "/v1/batches/batch_none", "/v1/monitor"),
    *("/metrics", "/openapi.json", "/api/tags", "/api/version", "/none", "/v1", "/docs", "/v1/batches/x/cancel"),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "get", "CONNECT")
HOSTS = (
    *("evil.example", "localhost:99999", "[::1]", "[::1", "127.0.0.1.evil.example", "a@localhost", "", "localhost."),
    *("localhost\x0bx", "LOCALHOST", "127.0.0.1:8000:1", "\u0130", "x" * 3000, "localhost, evil.example"),
)
PIECES = ("\u202e", "\u200b", "\u0000", "e\u0301" * 50, "\U000e0041" * 20, "\u0b95\u0bcd", "\U0001f468\u200d\U0001f469")
_DEEP = 3_000


class Strange(random.Random):
    """`request()` makes one after the other; `key` is a key for everything."""

    def __init__(self, seed: int, key: str) -> None:
        super().__init__(seed)
        self._key = key
        self._sound = wav(0.1)
        kinds: Sequence[tuple[int, Callable[[], Asked]]] = (
            (30, self._hostile),
            (14, self._broken_json),
            (4, self._deep),
            (1, self._huge),
            (8, self._headers),
            (6, self._host),
            (14, self._stranger),
            (7, self._unicode),
            (4, self._noise),
            (9, self._form),
            (3, self._framing),
        )
        self._weights, self._kinds = [weight for weight, _ in kinds], [kind for _, kind in kinds]

    def request(self) -> Asked:
        """The next one."""
        return self.choices(self._kinds, self._weights)[0]()

    def _post(self, path: str, body: bytes, kind: str = "application/json", **more: str) -> Asked:
        headers = {"Host": "localhost", "Authorization": f"Bearer {self._key}", "Content-Type": kind}
        headers |= {"Content-Length": str(len(body))} | {name.replace("_", "-"): text for name, text in more.items()}
        return Asked(_head("POST", path, headers) + body)

    def _body(self) -> tuple[str, dict[str, Any]]:
        path = self.choice(list(GOOD))
        return path, json.loads(json.dumps(GOOD[path]))

    def _spot(self, body: Any) -> tuple[Any, Any]:
        """A container somewhere in a body, and a key of it."""
        while True:
            keys = list(body) if isinstance(body, dict) else list(range(len(body)))
            key = self.choice(keys)
            if not isinstance(body[key], dict | list) or not body[key] or self.random() < 0.3:
                return body, key
            body = body[key]

    def _hostile(self) -> Asked:
        path, body = self._body()
        for _ in range(self.choice((0, 1, 1, 1, 2, 4))):
            place, key = self._spot(body)
            place[key] = "@@"
            if self.random() < 0.2 and isinstance(place, dict):
                place[self.choice(("other", "n", "model", "\u0130", "__proto__", "suffix", "stream"))] = "@@"
        values = [*map(json.dumps, HOSTILE), *RAW]
        text = json.dumps(body)
        while '"@@"' in text:
            text = text.replace('"@@"', self.choice(values), 1)
        return self._post(path, text.encode("utf-8", "surrogatepass"))

    def _broken_json(self) -> Asked:
        path, body = self._body()
        data = bytearray(json.dumps(body).encode())
        for _ in range(self.randint(1, 4)):
            place = self.randrange(len(data) + 1)
            action = self.randrange(4)
            if action == 0:
                del data[place : place + self.randint(1, 20)]
            elif action == 1:
                data[place:place] = self.randbytes(self.randint(1, 8))
            elif action == 2:
                data[place:place] = self.choice((b'"', b"{", b"]", b",", b"\\u", b"\\ud800", b"\xff", b"\0", b"1e9"))
            else:
                data = data[:place] + data[place:] * 2
        return self._post(path, bytes(data[: 1 << 16]))

    def _deep(self) -> Asked:
        path, body = self._body()
        place, key = self._spot(body)
        place[key] = "@@"
        depth = self.randrange(1, _DEEP)
        inside = self.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
        return self._post(path, json.dumps(body).replace('"@@"', inside).encode())

    def _huge(self) -> Asked:
        path, body = self._body()
        place, key = self._spot(body)
        size = self.choice((1 << 10, 1 << 17, 1 << 20))
        place[key] = self.choice(("x" * size, ["x"] * (size // 8), {str(number): 1 for number in range(size // 16)}))
        return self._post(path, json.dumps(body).encode())

    def _headers(self) -> Asked:
        path, body = self._body()
        strange = {
            "X-Request-Id": self.choice(("a b", "x" * 9000, "\u00e9" * 8, "ok-123456", "")),
            "Content-Type": self.choice(("text/plain", "", "application/json; charset=utf-7", ";;;", "\xff" * 10)),
            "Content-Encoding": self.choice(("gzip", "br", "identity")),
            "Accept": self.choice(("*/*", "x" * 4000, "text/html;q=" + "9" * 400)),
            "Authorization": self.choice(("Basic eA==", "Bearer", "Bearer \xff", "Bearer " + "x" * 9000)),
            "Origin": self.choice(("null", "https://evil.example", "\xff")),
            "Expect": "100-continue",
            "Upgrade": "websocket",
            "Connection": self.choice(("close", "upgrade", "keep-alive, x")),
            "X-Forwarded-For": "1.2.3.4, " * 50,
            "X-Http-Method-Override": "DELETE",
            "Range": "bytes=0-1,2-3," * 20,
        }  # fmt: skip
        chosen = dict(self.sample(sorted(strange.items()), self.randint(1, 3)))
        asked = self._post(path, json.dumps(body).encode(), **chosen)
        return Asked(asked.data, last="Connection" in chosen or "Upgrade" in chosen)

    def _host(self) -> Asked:
        headers = {"Host": self.choice(HOSTS), "Authorization": f"Bearer {self._key}"}
        lines = _head("GET", self.choice(GETS), headers)
        if self.random() < 0.2:
            lines = lines.replace(b"Host:", b"Host: localhost\r\nHost:", 1)
        return Asked(lines, "GET")

    def _stranger(self) -> Asked:
        """Every route and method without a key that holds."""
        path = self.choice((*GOOD, *FORMS, *GETS, *(f"{each}/" for each in GOOD), "//v1/models", "/%2e%2e/etc/passwd"))
        method = self.choice(METHODS)
        wrong = self.choice(({}, {"Authorization": "Bearer bz-wrong"}, {"Authorization": self._key}, {"Cookie": "k=1"}))
        return Asked(_head(method, path, {"Host": "localhost", "Content-Length": "0", **wrong}), method)

    def _unicode(self) -> Asked:
        path, body = self._body()
        for _ in range(self.randint(1, 3)):
            place, key = self._spot(body)
            place[key] = "".join(
                self.choices([*PIECES, chr(self.randrange(0xD800)), chr(self.randrange(0xE000, 0x10FFFF))], k=9)
            )
        text = json.dumps(body, ensure_ascii=self.random() < 0.5)
        return self._post(path, text.encode("utf-8", "replace"))

    def _noise(self) -> Asked:
        if self.random() < 0.5:
            return self._post(self.choice([*GOOD, *FORMS]), self.randbytes(self.randrange(500)))
        return Asked(self.randbytes(self.randint(1, 300)), last=True)

    def _form(self) -> Asked:
        path = self.choice(list(FORMS))
        line = {
            "custom_id": "a",
            "method": "POST",
            "url": "/v1/completions",
            "body": self.choice((1, GOOD["/tokenize"])),
        }
        content = self.choice(
            (self._sound, self._sound[: self.randrange(100)], json.dumps(line).encode(), b"", self.randbytes(60))
        )
        fields: list[tuple[str, bytes]] = [(name, text.encode()) for name, text in FORMS[path].items()]
        if self.random() < 0.6:
            fields.append(
                (self.choice(("purpose", "model", "other", "file", "x" * 300, "\u0130")), self.choice(PIECES).encode())
            )
        parts = [b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b' % (n.encode(), v) for n, v in fields]
        name = self.choice((b"note.wav", b"../../etc/passwd", b"a\0b", b'"', b"x" * 500))
        parts.append(b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b' % (name, content))
        data = bytearray(b"\r\n".join(parts) + self.choice((b"\r\n--b--\r\n", b"\r\n--b--", b"")))
        if self.random() < 0.3:
            place = self.randrange(len(data))
            data[place : place + self.randint(0, 9)] = self.randbytes(self.randint(0, 9))
        kind = self.choice(
            ("multipart/form-data; boundary=b",) * 5 + ("multipart/form-data", "multipart/form-data; boundary=")
        )
        return self._post(path, bytes(data), kind)  # fmt: skip

    def _framing(self) -> Asked:
        """Lengths and chunks that do not agree with the body."""
        path, body = self._body()
        data = json.dumps(body).encode()
        framed = self.choice((
            ("Content-Length: -1", data), ("Content-Length: 99999999999999999999", data), ("Content-Length: 5", data),
            ("Content-Length: 1_0", data), ("Content-Length: 4\r\nContent-Length: 3", data),
            ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)),
            ("Transfer-Encoding: chunked", b"zz\r\n" + data), ("Transfer-Encoding: chunked", b"ffffffffffffffffff\r\n"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 4", b"0\r\n\r\n"), ("Transfer-Encoding: gzip", data),
            ("X: \x01", data), ("X y: z", data), ("x" * 70_000 + ": y", data),
        ))  # fmt: skip
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n{framed[0]}\r\n"
        return Asked(head.encode("latin-1") + b"Content-Type: application/json\r\n\r\n" + framed[1], last=True)


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")
