"""Images and sounds of messages, in every shape that a file comes in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bezel.backends.sources import opened_image, opened_sound
from bezel.errors import InvalidRequestError, MediaSourceError
from bezel.media.fetching import Sources
from tests.media.samples import colours, encoded, wav

FILES = Sources(files=True)
PICTURE = encoded(Image.fromarray(colours(6, 8)), "PNG")
SOUND = wav(bytes(640))
AS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "open file": io.BytesIO,
}


@pytest.mark.parametrize("name", AS)
def test_a_file_in_memory(name: str) -> None:
    np.testing.assert_array_equal(opened_image(AS[name](PICTURE), Sources()), colours(6, 8))
    assert len(opened_sound(AS[name](SOUND), Sources(), 16_000)) == 320


def test_a_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURE)
    with path.open("rb") as file:
        for source in (path, str(path), file):
            np.testing.assert_array_equal(opened_image(source, FILES), colours(6, 8))
    with pytest.raises(MediaSourceError, match="an open file cannot be read"):
        opened_image(file, FILES)


@pytest.mark.parametrize("source", [None, 7, [1, 2], io.StringIO("text")], ids=str)
def test_what_is_no_file_is_told_what_would_be(source: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"path .*bytes"):
        opened_image(source, FILES)
    with pytest.raises(InvalidRequestError, match=r"path, .*bytes"):
        opened_sound(source, FILES, 16_000)
