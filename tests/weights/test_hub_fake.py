"""Fetching from a small hub on this machine: what arrives, what is sent, and what refusals turn into."""

import errno
import json
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bezel.errors import DownloadError, GatedModelError, StorageError, UnknownModelError
from bezel.kernels.interface import Format
from bezel.testing import write_checkpoint
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.hub import fetch, parse_reference
from bezel.weights.quantize import quantize
from bezel.weights.remote import open_remote

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "a" * 40
DATA = bytes(range(256)) * 2000
FILES = ("config.json", "model.safetensors", "m.gguf", "pytorch_model.bin", "modeling.py")


class Hub:
    """Serves owner/open (m.gguf at main and v1) and refuses owner/gated; `cuts` downloads break half-way."""

    def __init__(self) -> None:
        self.cuts = 0
        self.knows_ranges = True
        self.files = dict.fromkeys(FILES, DATA)
        self.tokens: set[str | None] = set()
        self.ranges: list[str | None] = []
        self.sent = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        path = handler.path.split("?")[0]
        if "/owner/" in path:
            self.tokens.add(handler.headers.get("Authorization"))
        if path.startswith("/api/models/owner/open/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "1234"} for name, data in self.files.items()
            ]
            return self.send(handler, 200, json.dumps(tree).encode(), body, {"Content-Type": "application/json"})
        if path.startswith("/api/models/owner/open/revision/"):
            facts = {"id": "owner/open", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return self.send(handler, 200, json.dumps(facts).encode(), body, {"Content-Type": "application/json"})
        if "/gated" in path:
            return self.send(handler, 403, b"", body, {"X-Error-Code": "GatedRepo", "X-Error-Message": "no"})
        if "/open" not in path:
            return self.send(handler, 401, b"", body, {"X-Error-Code": "RepoNotFound"})
        if "/nowhere" in path:
            return self.send(handler, 404, b"", body, {"X-Error-Code": "RevisionNotFound"})
        data = self.files.get(path.rpartition("/")[2])
        if data is None:
            return self.send(handler, 404, b"", body, {"X-Error-Code": "EntryNotFound"})
        asked = handler.headers.get("Range") if self.knows_ranges else None
        start, _, end = asked.removeprefix("bytes=").partition("-") if asked else ("0", "", "")
        part = slice(int(start), int(end) + 1 if end else len(data))
        headers = {"X-Repo-Commit": COMMIT, "ETag": '"1234"'}
        if asked:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
        if body:
            self.ranges.append(asked)
            self.sent += len(data[part])
        cut, self.cuts = body and self.cuts > 0, self.cuts - body
        self.send(handler, 206 if asked else 200, data[part], body, headers, cut)

    @staticmethod
    def send(
        handler: BaseHTTPRequestHandler,
        status: int,
        data: bytes,
        body: bool,
        headers: dict[str, str],
        cut: bool = False,
    ) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if body:
            handler.wfile.write(data[: len(data) // 2] if cut else data)
        handler.close_connection = True


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{hub.server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


@pytest.mark.parametrize("name", ["owner/open:m.gguf", "owner/open@v1:m.gguf"])
def test_a_file_arrives_with_the_token_sent(hub: Hub, name: str) -> None:
    assert fetch(parse_reference(name)).read_bytes() == DATA
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_cut_connection_is_carried_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.cuts = 1
    assert fetch(parse_reference("owner/open:m.gguf")).read_bytes() == DATA
    assert len(hub.ranges) == 2 and hub.ranges[0] is None and hub.ranges[1] is not None


def test_what_is_cached_needs_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(parse_reference("owner/open:m.gguf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.ranges.clear()
    assert fetch(parse_reference("owner/open:m.gguf")).read_bytes() == DATA
    assert hub.ranges == []
    with pytest.raises(DownloadError, match="bezel pull"):
        fetch(parse_reference("owner/open:other.gguf"))


@pytest.mark.parametrize("name", ["owner/gated", "owner/gated:m.gguf"])
def test_gated_repositories_name_the_licence_page(hub: Hub, name: str) -> None:
    with pytest.raises(GatedModelError, match=r"https://huggingface\.co/owner/gated"):
        fetch(parse_reference(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/absent", "no repository owner/absent"),
        ("owner/open@nowhere:m.gguf", "no revision 'nowhere'"),
        ("owner/open:other.gguf", "no file other.gguf"),
    ],
)
def test_what_the_hub_lacks_is_named(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        fetch(parse_reference(name))


def test_a_folder_arrives_without_code_and_pickles(hub: Hub) -> None:
    folder = fetch(parse_reference("owner/open"))
    assert {path.name for path in folder.iterdir()} <= {"config.json", "model.safetensors", "m.gguf"}
    assert (folder / "config.json").read_bytes() == DATA


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(StorageError, match="free space"):
            fetch(parse_reference("owner/open:m.gguf"))
    assert not list(tmp_path.rglob("m.gguf"))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="HF_HOME"):
        fetch(parse_reference("owner/open:m.gguf"))


@pytest.fixture
def real(hub: Hub, tmp_path: Path) -> Hub:
    """The hub with a checkpoint of 64 MB of weights in owner/open, as a folder and as m.gguf."""
    folder = write_checkpoint(tmp_path / "real", vocabulary=200_000)
    quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.Q8_0)
    hub.files = {path.name: path.read_bytes() for path in (*folder.iterdir(), tmp_path / "m.gguf")}
    return hub


@pytest.mark.parametrize("name", ["owner/open", "owner/open:m.gguf", "owner/open@v1:m.gguf"])
def test_headers_are_read_without_the_weights(real: Hub, tmp_path: Path, name: str) -> None:
    found = open_remote(parse_reference(name))
    local = open_checkpoint(tmp_path / ("m.gguf" if ":" in name else "real"))
    assert found.config == local.config
    assert [(i.name, i.shape, i.offset) for i in found.source.tensors.values()] == [
        (i.name, i.shape, i.offset) for i in local.source.tensors.values()
    ]
    assert real.sent < sum(map(len, real.files.values())) / 4
    assert real.tokens == {"Bearer hf_secret"}


def test_a_repository_of_gguf_files_asks_for_one_of_them(hub: Hub) -> None:
    del hub.files["config.json"]
    with pytest.raises(UnknownModelError, match=r"owner/open:file\.gguf"):
        open_remote(parse_reference("owner/open"))


@pytest.mark.parametrize("name", ["owner/gated", "owner/gated:m.gguf"])
def test_headers_of_gated_repositories_name_the_licence_page(hub: Hub, name: str) -> None:
    with pytest.raises(GatedModelError, match=r"https://huggingface\.co/owner/gated"):
        open_remote(parse_reference(name))


def test_a_server_without_byte_ranges_is_refused_before_its_weights_arrive(real: Hub) -> None:
    real.knows_ranges = False
    tracemalloc.start()
    with pytest.raises(DownloadError, match="byte ranges"):
        open_remote(parse_reference("owner/open:m.gguf"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(real.files["m.gguf"]) / 2
