"""Videos come out as the frames that are asked for and their sound; they need the av library."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from bezel.errors import CorruptMediaError, InvalidRequestError, MediaTooLargeError, UnsupportedMediaError
from bezel.media import decoding
from bezel.media.decoding import decode_audio, decode_image, decode_video
from bezel.media.limits import Limits
from tests.media.samples import tone

CODECS = {
    "mp4": ("libx264", "aac", 44_100),
    "mov": ("mpeg4", "pcm_s16le", 48_000),
    "webm": ("libvpx", "libopus", 48_000),
}
MP4_HEAD = b"\x00\x00\x00\x20ftypisom" + bytes(20)


def filmed(format: str = "mp4", frames: int = 50, sound: bool = True, pictures: bool = True) -> bytes:
    """25 frames a second of 64 x 48, each greyer by 5 of 255; a red top left corner; a tone."""
    av = pytest.importorskip("av")
    picture_codec, sound_codec, rate = CODECS[format]
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        video = container.add_stream(picture_codec, rate=25) if pictures else None
        audio = container.add_stream(sound_codec, rate=rate, layout="stereo") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(frames):
                pixels = np.full((48, 64, 3), 5 * number, np.uint8)
                pixels[:16, :16] = (250, 0, 0)
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode())
        if audio is not None:
            samples = (tone(rate, frames / 25, 2) * 32767).astype(np.int16)
            frame: Any = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate = rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return file.getvalue()


@pytest.mark.parametrize("format", CODECS)
def test_frames_and_sound(format: str) -> None:
    found = decode_video(filmed(format), per_second=5)
    assert found.frames.seconds == pytest.approx([0.2 * n for n in range(10)], abs=0.03)
    greys = [int(picture[30, 40].mean()) for picture in found.frames.pictures]
    assert greys == pytest.approx([25 * n for n in range(10)], abs=8)
    assert found.frames.pictures[0].shape == (48, 64, 3)
    assert found.frames.pictures[0][4, 4, 0] > 200 > 60 > found.frames.pictures[0][4, 4, 1]
    assert found.sound is not None
    wanted = tone(16_000, 2.0, 2).mean(axis=1)
    assert len(found.sound) == pytest.approx(32_000, abs=1_700)
    # Codecs delay sound by up to a frame: the best shift must agree closely.
    middle = wanted[8_000:16_000]
    errors = [np.abs(found.sound[8_000 + s : 16_000 + s] - middle).mean() for s in range(-400, 1_200)]
    assert min(errors) < 0.04


@pytest.mark.parametrize("format", CODECS)
def test_sound_alone(format: str) -> None:
    data = filmed(format, pictures=False)
    assert len(decode_audio(data)) == pytest.approx(32_000, abs=1_700)
    with pytest.raises(UnsupportedMediaError, match="no pictures"):
        decode_video(data)


def test_pictures_alone() -> None:
    data = filmed(sound=False)
    assert decode_video(data).sound is None
    with pytest.raises(UnsupportedMediaError, match="no sound"):
        decode_audio(data)
    with pytest.raises(UnsupportedMediaError, match="MP4 file; send PNG"):
        decode_image(data)


def test_a_turned_telephone() -> None:
    """The matrix of the track turns pictures by 90 degrees clockwise."""
    data = bytearray(filmed(sound=False))
    track = data.index(b"tkhd") + 4 + 40
    numbers = (0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    data[track : track + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    picture = decode_video(bytes(data)).frames.pictures[0]
    assert picture.shape == (64, 48, 3)
    assert picture[4, 44, 0] > 200 > 60 > picture[4, 4, 0]


def test_limits() -> None:
    data = filmed()
    for limits, why in [
        (Limits(audio_seconds=1.9), "longer than"),
        (Limits(pixels=64 * 48 - 1), "64 x 48 pixels"),
        (Limits(pixels=64 * 48 * 9), "10 frames or more"),
        (Limits(frames=9), "10 frames or more"),
        (Limits(channels=1), "2 channels"),
        (Limits(highest_rate=44_099), "44,100 samples"),
    ]:
        with pytest.raises((MediaTooLargeError, UnsupportedMediaError), match=why):
            decode_video(data, limits, per_second=5)
    with pytest.raises(InvalidRequestError, match="per_second"):
        decode_video(data, per_second=0)


@pytest.mark.parametrize("format", CODECS)
def test_a_file_cut_anywhere_is_an_error(format: str) -> None:
    data = filmed(format, frames=25)
    for cut in {*range(16, len(data), max(1, len(data) // 30)), *range(len(data) - 10, len(data))}:
        with pytest.raises(CorruptMediaError):
            decode_video(data[:cut])


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    for decode in (decode_video, decode_audio):
        with pytest.raises(UnsupportedMediaError, match=r"pip install 'bezel\[av\]'"):
            decode(MP4_HEAD)
