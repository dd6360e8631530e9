"""Sounds of every format come out as mono at 16 kHz, as soxr gives it, and never shorter than they are."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
import soxr

from bezel.errors import CorruptMediaError, InvalidRequestError, MediaTooLargeError, UnsupportedMediaError
from bezel.media.decoding import decode_audio
from bezel.media.limits import Limits
from tests.media.samples import recorded, riff, tone, wav

LOSSLESS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("WAVEX", "PCM_16"),
]
LOSSY = [
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAV", "PCM_U8"),
]


@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossless_sounds(format: str, subtype: str, rate: int, channels: int) -> None:
    samples = tone(rate, 0.4, channels)
    found = decode_audio(recorded(samples, rate, format, subtype))
    wanted = soxr.resample(samples.astype(np.float64).mean(axis=1), rate, 16_000, quality="HQ")
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 48_000])
def test_the_middle_is_as_band_limited_interpolation_has_it(rate: int) -> None:
    """Sums of sines below every band edge are known at any time."""
    found = decode_audio(recorded(tone(rate, 1.0), rate, "WAV", "PCM_24"))
    assert np.abs(found - tone(16_000, 1.0)[:, 0])[800:-800].max() < 1e-3


@pytest.mark.parametrize(("format", "subtype"), LOSSY)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_sounds(format: str, subtype: str, rate: int, channels: int) -> None:
    """Decoded whole by the library and resampled at once: the same, whatever the loss."""
    data = recorded(tone(rate, 2.5, channels), rate, format, subtype)
    whole, found_rate = soundfile.read(io.BytesIO(data), always_2d=True)
    found = decode_audio(data)
    wanted = soxr.resample(whole.mean(axis=1), found_rate, 16_000, quality="HQ")
    assert abs(len(found) - 40_000) < 1_000 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3


def test_other_rates_and_no_change_at_the_same() -> None:
    samples = tone(16_000, 0.2)
    assert np.array_equal(decode_audio(recorded(samples, 16_000, "WAV", "FLOAT")), samples[:, 0])
    assert decode_audio(recorded(samples, 16_000, "WAV", "FLOAT"), rate=24_000).shape == (4_800,)
    with pytest.raises(InvalidRequestError, match="rate"):
        decode_audio(recorded(samples, 16_000, "WAV", "FLOAT"), rate=0)


def test_long_sounds_are_whole_and_over_the_limit_an_error() -> None:
    samples = tone(16_000, 95.0)
    for format, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        data = recorded(samples, 16_000, format, subtype)
        assert abs(len(decode_audio(data)) - len(samples)) < 16, format
        with pytest.raises(MediaTooLargeError, match="longer than the 94 s"):
            decode_audio(data, Limits(audio_seconds=94))


WHOLE = {
    f"{format} {subtype}": recorded(tone(16_000, 1.0), 16_000, format, subtype)
    for format, subtype in [*LOSSLESS, *LOSSY]
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_an_error(name: str) -> None:
    data = WHOLE[name]
    decode_audio(data)
    for cut in {*range(16, len(data), max(1, len(data) // 50)), *range(len(data) - 30, len(data))}:
        with pytest.raises(CorruptMediaError):
            decode_audio(data[:cut])


def test_a_size_that_a_pipe_could_not_know() -> None:
    samples = bytes(range(200)) * 10
    for unknown in (0x7FFFF000, 0xFFFFFFFF):
        assert decode_audio(wav(samples, declared=unknown)).shape == (1_000,)


def test_a_flac_that_was_written_to_a_pipe_does_not_know_its_length() -> None:
    data = bytearray(WHOLE["FLAC PCM_16"])
    whole = decode_audio(bytes(data))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert np.array_equal(decode_audio(bytes(data)), whole)
    with pytest.raises(MediaTooLargeError, match="longer"):
        decode_audio(bytes(data), Limits(audio_seconds=0.5))


def test_a_wav_whose_size_was_never_written_is_read_to_its_end() -> None:
    samples = bytes(range(200)) * 10
    assert decode_audio(wav(samples, declared=0)).shape == (1_000,)
    with pytest.raises(CorruptMediaError, match="no samples"):
        decode_audio(wav(riff(b"LIST", bytes(40)) + riff(b"bext", bytes(601)), declared=0))


def test_a_sample_from_which_none_is_made() -> None:
    with pytest.raises(CorruptMediaError, match="no samples"):
        decode_audio(recorded(tone(48_000, 1 / 48_000), 48_000, "WAV", "PCM_16"))


def test_a_voice_note_without_the_mark_on_its_last_page() -> None:
    data = bytearray(WHOLE["OGG OPUS"])
    last = data.rindex(b"OggS")
    assert data[last + 5] == 4
    data[last + 5] = 0
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = struct.pack("<I", ogg_sum(bytes(data[last:])))
    assert np.array_equal(decode_audio(bytes(data)), decode_audio(WHOLE["OGG OPUS"]))


def ogg_sum(page: bytes) -> int:
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x04C11DB7 if total >> 31 else 0)) & 0xFFFFFFFF
    return total


def test_pages_of_ogg_must_be_there_unbroken_and_of_one_stream() -> None:
    data = recorded(tone(16_000, 9.0), 16_000, "OGG", "VORBIS")
    pages = [b"OggS" + page for page in data.split(b"OggS")[1:]]
    assert len(pages) > 4 and b"".join(pages) == data
    with pytest.raises(CorruptMediaError, match="broken"):
        decode_audio(b"".join(pages[:3] + pages[4:]))
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    with pytest.raises(CorruptMediaError, match="broken"):
        decode_audio(bytes(broken))
    with pytest.raises(UnsupportedMediaError, match="several streams"):
        decode_audio(data + recorded(tone(16_000, 0.5), 16_000, "OGG", "VORBIS"))


def test_frames_of_mp3_between_tags_and_padding() -> None:
    data = WHOLE["MP3 MPEG_LAYER_III"]
    whole = decode_audio(data)
    tagged = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + data + bytes(64) + b"TAG" + bytes(125)
    assert np.array_equal(decode_audio(tagged), whole)
    with pytest.raises(CorruptMediaError, match="broken"):
        decode_audio(data + b"<script>")
    flac = WHOLE["FLAC PCM_16"]
    assert np.array_equal(decode_audio(tagged[: 10 + 128] + flac), decode_audio(flac))


def mp3(rate: int, seconds: float, channels: int = 1) -> bytes:
    return recorded(tone(rate, seconds, channels), rate, "MP3", "MPEG_LAYER_III")


def without_header(data: bytes) -> bytes:
    """Frames behind the one that counts them."""
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    return data[data.index(data[:2], 4) :]


def without_second_frame(data: bytes) -> bytes:
    second = data.index(data[:2], 4)
    return data[:second] + data[data.index(data[:2], second + 4) :]


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (22_050, 1), (44_100, 2), (48_000, 1)])
def test_an_mp3_whose_frames_nobody_counted_is_heard_to_its_end(rate: int, channels: int) -> None:
    """Of frames at several bit rates libsndfile would guess the length from the first."""
    samples = np.concatenate([np.zeros((2 * rate, channels), np.float32), tone(rate, 2.0, channels)])
    data = recorded(samples, rate, "MP3", "MPEG_LAYER_III")
    whole, bare = decode_audio(data), decode_audio(without_header(data))
    assert len(bare) == pytest.approx(len(whole), abs=16_000 * 3_000 / rate)
    at = len(whole) // 4 * 3
    errors = [np.abs(bare[at + s : at + s + 800] - whole[at : at + 800]).max() for s in range(4_000)]
    assert min(errors) < 0.02, "the same sound, a codec's delay later"


@pytest.mark.parametrize(
    "second",
    [mp3(16_000, 1.5), mp3(22_050, 1.5), mp3(16_000, 1.5, 2), without_header(mp3(16_000, 1.5))],
    ids=["alike", "at another rate", "in stereo", "without a header"],
)
@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16)])
def test_mp3s_that_were_joined_are_heard_to_their_end(second: bytes, between: bytes) -> None:
    first = mp3(16_000, 1.0)
    found = decode_audio(first + between + second)
    alone = decode_audio(first)
    assert np.array_equal(found[: len(alone)], alone)
    assert len(found) == pytest.approx(40_000, abs=3_000)
    with pytest.raises(CorruptMediaError, match="cut off"):
        decode_audio(first + between + without_second_frame(first))
    with pytest.raises(MediaTooLargeError, match=r"longer than the 2 s"):
        decode_audio(first + between + second, Limits(audio_seconds=2))


def test_headers_of_mp3_that_count_what_others_hold() -> None:
    """FFmpeg joins files with one header at the front, and leaves the old ones where they are."""
    first, second = mp3(16_000, 1.0), mp3(16_000, 1.5)
    frames = first.count(first[:2]) + second.count(second[:2])  # about: the bytes may stand elsewhere too
    place = max(first.find(b"Xing"), first.find(b"Info")) + 8
    for count, seconds in ((frames - 4, 2.5), (10, 2.5), (1, 2.5), (0, 2.5)):
        counted = first[:place] + count.to_bytes(4, "big") + first[place + 4 :]
        assert len(decode_audio(counted + second)) / 16_000 == pytest.approx(seconds, abs=0.15)
    assert len(decode_audio(first[: len(first) - len(without_header(first))] + first)) == 16_000, "a header alone"
    with pytest.raises(UnsupportedMediaError, match="several streams"):
        decode_audio(first * 1_001)


def test_what_ends_an_mp3_besides_frames() -> None:
    data = mp3(16_000, 0.5)
    whole = decode_audio(data)
    ape = b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 1, 1 << 29) + bytes(8) + b"APETAGEX" + bytes(24)
    for tail in (b"\r\n", b"TAG+" + bytes(223), ape, b"LYRICSBEGINla la000012LYRICS200"):
        assert np.array_equal(decode_audio(data + tail), whole)
        assert len(decode_audio(data + tail + data)) > 1.8 * len(whole), "what follows a tag is heard"


def test_a_frame_of_mp3_that_is_missing_is_noticed() -> None:
    data = recorded(tone(16_000, 3.0), 16_000, "MP3", "MPEG_LAYER_III")
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    with pytest.raises(CorruptMediaError, match="cut off"):
        decode_audio(without_second_frame(data))


@pytest.mark.parametrize("rate", [0, 1, 3_999, 192_001, 0xFFFFFFFF])
def test_forged_rates(rate: int) -> None:
    with pytest.raises((UnsupportedMediaError, CorruptMediaError)):
        decode_audio(wav(bytes(3200), rate=rate))


@pytest.mark.parametrize("channels", [0, 9, 255, 65_535])
def test_forged_channels(channels: int) -> None:
    with pytest.raises((MediaTooLargeError, CorruptMediaError)):
        decode_audio(wav(bytes(3200), channels=channels))


def test_a_forged_length_is_no_allocation() -> None:
    flac = bytearray(WHOLE["FLAC PCM_16"])
    flac[21:26] = bytes([flac[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # 2^36 - 1 samples
    with pytest.raises(MediaTooLargeError, match="longer"):
        decode_audio(bytes(flac))
    with pytest.raises(CorruptMediaError, match="cut off"):
        decode_audio(wav(bytes(3200), declared=0x7FFFE000))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_samples_must_be_numbers(value: float) -> None:
    samples = tone(16_000, 0.1)
    samples[77] = value
    with pytest.raises(CorruptMediaError, match="no numbers"):
        decode_audio(wav(samples.astype("<f4").tobytes(), bits=32, code=3))


def test_nothing_is_no_sound() -> None:
    with pytest.raises(CorruptMediaError):
        decode_audio(wav(b""))


@pytest.mark.parametrize("code", [2, 0x11, 0x31, 0x55, 0x1234])
def test_rare_encodings_in_wav_are_not_read(code: int) -> None:
    with pytest.raises((UnsupportedMediaError, CorruptMediaError)):
        decode_audio(wav(bytes(3200), code=code, bits=4))


def test_chunks_before_the_samples_are_passed_over() -> None:
    data = wav(bytes(320))
    before = data[:12] + riff(b"LIST", b"\x01" * 33) + data[12:]
    assert decode_audio(before).shape == (160,)
