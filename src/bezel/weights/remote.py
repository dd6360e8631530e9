"""A hub checkpoint's headers, read by byte ranges without downloading its weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from bezel.errors import DownloadError, UnknownModelError
from bezel.weights.checkpoint import Checkpoint, open_folder, open_gguf
from bezel.weights.hub import Reference, explained, fetch_optional
from bezel.weights.safetensors import INDEX

_READ_AHEAD = 1 << 20


def open_remote(reference: Reference) -> Checkpoint:
    """Config and tensor headers of what `reference` names on the hub; rows of tensors cannot be read.

    Only JSON files are cached. Raises what `hub.fetch` and `checkpoint.open_checkpoint` raise.
    """

    def opener(path: Path) -> tuple[BinaryIO, int]:
        return _open(reference, path.as_posix() if reference.file else path.name)

    if reference.file:
        return open_gguf(Path(reference.file), opener)
    config = fetch_optional(reference, "config.json")
    if config is None:
        raise UnknownModelError(
            f"{reference.repo} has no config.json; name one of its GGUF files: {reference.repo}:file.gguf"
        )
    fetch_optional(reference, INDEX)
    return open_folder(config.parent, opener)


def _open(reference: Reference, name: str) -> tuple[BinaryIO, int]:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with explained(reference, name) as repo:
        address = hf_hub_url(repo, name, revision=reference.revision)
        size = get_hf_file_metadata(address).size
    if size is None:
        raise DownloadError(f"the hub does not say how long {repo}/{name} is; run: bezel pull {repo}")
    return io.BufferedReader(_Ranges(reference, address, size), _READ_AHEAD), size


class _Ranges(io.RawIOBase):
    """A file on the hub, read from its start by range requests."""

    def __init__(self, reference: Reference, address: str, size: int) -> None:
        self._reference, self._address, self._size, self._at = reference, address, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        from huggingface_hub import get_session
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import hf_raise_for_status

        end = min(self._at + len(buffer), self._size)
        if end == self._at:
            return 0
        with explained(self._reference):
            # A redirect to another host loses the token: the session drops it.
            headers = build_hf_headers() | {"Range": f"bytes={self._at}-{end - 1}"}
            with get_session().stream("GET", self._address, headers=headers, follow_redirects=True) as response:
                hf_raise_for_status(response)
                content = response.read() if response.status_code == 206 else b""
        if len(content) != end - self._at:
            raise DownloadError(
                f"{self._address}: the server does not answer byte ranges; run: bezel pull {self._reference.repo}"
            )
        buffer[: len(content)] = content
        self._at = end
        return len(content)
