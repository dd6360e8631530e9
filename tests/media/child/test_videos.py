"""Videos come out as the frames that are asked for and their sound; they need the av library."""

from __future__ import annotations

import io
from fractions import Fraction
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


def filmed(
    format: str = "mp4",
    frames: int = 50,
    sound: bool = True,
    pictures: bool = True,
    rate: float = 25,
    late: float = 0.0,
    gap: float = 0.0,
    sound_codec: str | None = None,
) -> bytes:
    """`rate` frames a second of 64 x 48, each greyer by 5 of 255; a red top left corner; a tone.

    The tone begins `late` seconds behind the pictures, and nothing is recorded for `gap` seconds in its middle.
    """
    av = pytest.importorskip("av")
    picture_codec, usual, hertz = CODECS[format]
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        video = container.add_stream(picture_codec, rate=Fraction(rate).limit_denominator(1001)) if pictures else None
        audio = container.add_stream(sound_codec or usual, rate=hertz, layout="stereo") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(frames):
                pixels = np.full((48, 64, 3), 5 * number % 256, np.uint8)
                pixels[:16, :16] = (250, 0, 0)
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode())
        if audio is not None:
            samples = (tone(hertz, frames / 25, 2) * 32767).astype(np.int16)
            packets = []
            for first in range(0, len(samples), 4800):
                part = samples[first : first + 4800].reshape(1, -1)
                frame: Any = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = hertz, first, Fraction(1, hertz)
                packets += audio.encode(frame)
            packets += audio.encode()
            for place, packet in enumerate(packets):
                moved = round((late + gap * (2 * place >= len(packets))) / packet.time_base)
                packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                container.mux(packet)
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


@pytest.mark.parametrize("late", [0.0, 1.5])
@pytest.mark.parametrize(("format", "gap"), [("mp4", 0.0), ("mp4", 2.0), ("mov", 0.0), ("webm", 0.0), ("webm", 2.0)])
def test_sound_is_heard_when_it_is_played(format: str, late: float, gap: float) -> None:
    """Recorders that were paused leave gaps, and sound may begin behind the pictures."""
    found = decode_video(filmed(format, sound=True, late=late, gap=gap)).sound
    assert found is not None
    loud = np.abs(found).reshape(-1) > 0.05
    assert np.flatnonzero(loud)[0] / 16_000 == pytest.approx(late, abs=0.1)
    assert len(found) / 16_000 == pytest.approx(2.0 + late + gap, abs=0.15)
    middle = round(16_000 * (late + 1.0 + gap / 2))
    assert (loud[middle - 8_000 : middle + 8_000].mean() < 0.1) == bool(gap)


@pytest.mark.parametrize("kind", ["pcm_u8", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"])
def test_uncompressed_sound_of_any_width(kind: str) -> None:
    assert len(decode_audio(filmed("mov", pictures=False, sound_codec=kind))) == pytest.approx(32_000, abs=100)


@pytest.mark.parametrize("rate", [15, 25, 30, 29.97])
def test_all_frames_of_a_film_at_its_own_rate(rate: float) -> None:
    film = filmed(sound=False, frames=150, rate=rate)
    assert len(decode_video(film, per_second=rate).frames.pictures) == 150
    assert len(decode_video(film, per_second=rate / 3).frames.pictures) == 50


def test_sound_that_nobody_asks_for_may_be_of_any_kind() -> None:
    film = filmed("mp4", sound_codec="ac3")
    with pytest.raises(UnsupportedMediaError, match="kind of MP4"):
        decode_video(film)
    found = decode_video(film, rate=None)
    assert found.sound is None
    assert len(found.frames.pictures) == 2


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
