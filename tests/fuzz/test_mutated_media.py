"""Mutated pictures and sounds end in arrays or in a typed error, and their child does not crash.

BEZEL_FUZZ_CASES asks for more than CI does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bezel.errors import CorruptMediaError, MediaError, MediaTooLargeError, UnsupportedMediaError
from bezel.media.child.containers import whole
from bezel.media.child.headers import read_header
from bezel.media.child.mp3 import recordings
from bezel.media.decoding import Decoder
from bezel.media.formats import Format, Kind, format_of
from bezel.media.limits import Limits
from bezel.media.protocol import RefusedError
from tests.media.samples import chunk, colours, encoded, png, recorded, tone, wav, webp

CASES = int(os.environ.get("BEZEL_FUZZ_CASES", "2000")) // 40
LIMITS = Limits(pixels=1 << 20, frames=20, audio_seconds=60, memory=256 << 20)
IMAGE = Image.fromarray(colours(24, 32))
_TYPED = CorruptMediaError, MediaTooLargeError, UnsupportedMediaError
EXIF = Image.Exif()
EXIF[0x0112] = 6

FILES = {
    "PNG": encoded(IMAGE, "PNG", exif=EXIF),
    "palette PNG": encoded(IMAGE.quantize(8), "PNG", transparency=1),
    "animated PNG": encoded(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(90)], duration=50),
    "PNG animated for some": encoded(
        IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(90)], duration=50, default_image=True
    ),
    "JPEG": encoded(IMAGE, "JPEG", exif=EXIF),
    "few bits PNG": png(32, 24, chunk(b"tRNS", b"\0\2"), depth=2, colour=0, pixels=(b"\1" + bytes(range(8))) * 24),
    "JPEG with restarts": encoded(IMAGE, "JPEG", restart_marker_blocks=2) + b"\xff\xd8\xff\xda a film",
    "progressive JPEG": encoded(IMAGE, "JPEG", progressive=True),
    "CMYK JPEG": encoded(IMAGE.convert("CMYK"), "JPEG"),
    "WEBP": encoded(IMAGE, "WEBP", exif=EXIF),
    "lossless WEBP": encoded(IMAGE.convert("RGBA"), "WEBP", lossless=True),
    "animated WEBP": encoded(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(90)], duration=50),
    "WEBP of headers": webp(20, 20, frames=2),
    "GIF": encoded(IMAGE, "GIF"),
    "animated GIF": encoded(IMAGE, "GIF", save_all=True, append_images=[IMAGE.rotate(90), IMAGE], duration=50),
    "BMP": encoded(IMAGE, "BMP"),
    "WAV": wav((tone(8_000, 0.1)[:, 0] * 9999).astype("<i2").tobytes()),
    "24-bit WAV": recorded(tone(8_000, 0.1, 2), 8_000, "WAVEX", "PCM_24"),
    "FLAC": recorded(tone(8_000, 0.2), 8_000, "FLAC", "PCM_16"),
    "Vorbis": recorded(tone(8_000, 0.2), 8_000, "OGG", "VORBIS"),
    "Opus": recorded(tone(8_000, 0.2), 8_000, "OGG", "OPUS"),
    "MP3": recorded(tone(8_000, 0.3), 8_000, "MP3", "MPEG_LAYER_III"),
}


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Bits flipped, numbers overwritten, parts cut out or doubled; mostly near the head, where meaning is dense."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        head = draw(st.booleans())
        place = draw(st.integers(0, max(0, min(len(out), 80 if head else len(out)) - 1)))
        length = draw(st.sampled_from([1, 2, 4, 8, 100]))
        match draw(st.sampled_from(["flip", "number", "cut", "double", "noise"])):
            case "flip" if out:
                out[place] ^= 1 << draw(st.integers(0, 7))
            case "number":
                number = draw(st.sampled_from([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63]))
                order = draw(st.sampled_from(["little", "big"]))
                size = draw(st.sampled_from([1, 2, 4, 8]))
                out[place : place + size] = (number & (1 << 8 * size) - 1).to_bytes(size, order)
            case "cut":
                del out[place : place + length]
            case "double":
                out[place:place] = out[place : place + length]
            case _:
                out[place : place + length] = draw(st.binary(min_size=1, max_size=length))
    return bytes(out)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    one = Decoder(LIMITS)
    yield one
    one.close()


def check(decoder: Decoder, data: bytes) -> None:
    try:
        kind = format_of(data).kind
        if kind is Kind.SOUND:
            sound = decoder.audio(data)
            assert sound.dtype == np.float32 and sound.ndim == 1 and len(sound) and np.all(np.isfinite(sound))
        elif kind is Kind.PICTURE:
            for picture in decoder.frames(data).pictures:
                assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.size <= 3 * LIMITS.pixels
    except MediaError as error:
        assert isinstance(error, _TYPED) and "crash" not in str(error) and "nonsense" not in str(error)


@pytest.mark.parametrize("name", FILES)
def test_decoding(decoder: Decoder, name: str) -> None:
    check(decoder, FILES[name])

    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(FILES[name]))
    def survives(data: bytes) -> None:
        check(decoder, data)

    survives()


@pytest.mark.parametrize("name", FILES)
def test_headers_and_containers(name: str) -> None:
    """What is read in Python raises nothing but its own error, and does not take long."""

    @settings(max_examples=CASES, deadline=1000, suppress_health_check=list(HealthCheck))
    @given(mutated(FILES[name]))
    def survives(data: bytes) -> None:
        format = format_of(FILES[name])
        try:
            if format.kind is Kind.PICTURE:
                header = read_header(format, data, 20)
                assert header.width > 0 and header.height > 0 and header.frames > 0
            elif format is Format.MP3:
                found = recordings(data)
                assert 0 < sum(map(len, found)) <= len(data) + len(found) * 720, "a header each, at most"
            else:
                assert len(whole(format, data)) == len(data)
        except RefusedError:
            pass

    survives()


@settings(max_examples=CASES, deadline=1000)
@given(st.sampled_from([Format.MP4, Format.WEBM]), st.binary(max_size=200))
def test_containers_of_videos(format: Format, data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert whole(format, data) == data


@settings(max_examples=CASES)
@given(st.binary(max_size=80))
def test_first_bytes(data: bytes) -> None:
    try:
        assert format_of(data) in Format
    except MediaError as error:
        assert "send PNG" in str(error)
