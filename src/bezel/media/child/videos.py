"""FFmpeg, through PyAV, decodes the frames and the sound of videos, and sound in video containers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import av
import av.subtitles.stream  # PyAV imports it when a file is opened, which is too late in a confined child
import numpy as np

from bezel.media.child.containers import whole
from bezel.media.child.resampling import Output, Resampler, check_sound
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.protocol import STILL, Answer, Failure, RefusedError, Request, Tag

Send = Callable[[bytes], None]

_DEMUXERS = {Format.MP4: "mov", Format.WEBM: "matroska"}
_PICTURES = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mpeg4"}
_PCM = {"pcm_u8", *(f"pcm_{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64") for order in ("le", "be"))}
_SOUNDS = {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", *_PCM}
_EARLY = 0.01  # of the time between two wanted frames: clocks of files are rounded
_TOGETHER = 0.05  # seconds that nobody hears or sees
_TURNED = {0: 1, 90: 8, 180: 3, -180: 3, -90: 6, 270: 6}  # degrees against the clock that a frame is turned by: EXIF's

av.logging.set_level(None)


def decode(request: Request, data: bytes, limits: Limits, send: Send) -> None:
    """PICTURE answers at `request.pictures` a second (none for STILL), SOUND answers at `request.rate` (none for 0)."""
    format = Format(request.format)
    data = whole(format, data)
    try:
        if request.pictures != STILL:
            with _opened(data, format) as container:
                _decode_pictures(container, request.pictures, limits, send)
        if not request.rate:
            return
        with _opened(data, format) as container:
            if container.streams.audio or request.pictures == STILL:
                _decode_sound(container, request.rate, limits, send)
    except (av.FFmpegError, ValueError, OSError, LookupError, TypeError, OverflowError):
        raise RefusedError(Failure.CORRUPT) from None


def _opened(data: bytes, format: Format) -> Any:
    options = {"enable_drefs": "0", "use_absolute_path": "0"} if format is Format.MP4 else {}
    return av.open(io.BytesIO(data), format=_DEMUXERS[format], container_options=options)


def _stream(container: Any, kind: str, names: set[str], missing: Failure) -> Any:
    """The first stream of a kind, set to decode on one thread and to stop at the first error."""
    streams = getattr(container.streams, kind)
    if not streams:
        raise RefusedError(missing)
    stream = streams[0]
    if stream.codec_context is None or stream.codec_context.name not in names:
        raise RefusedError(Failure.ENCODING)
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    return stream


class _Since:
    """Times since a file's beginning, which its pictures and its sound share, as its player counts them.

    A stream that begins a moment later, as for the sake of its codec, begins with it.
    """

    def __init__(self, container: Any) -> None:
        self._origin = None if container.start_time is None else container.start_time / av.time_base
        self._any = False

    def seconds(self, frame: Any, otherwise: float = 0.0) -> float:
        """When a frame is due; `otherwise` where the file does not say."""
        if frame.time is None:
            return otherwise
        at = float(frame.time)
        if self._origin is None or (not self._any and at - self._origin < _TOGETHER):
            self._origin = at
        self._any = True
        return at - self._origin


def _seconds(stream: Any) -> float:
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def _decode_pictures(container: Any, per_second: float, limits: Limits, send: Send) -> None:
    stream = _stream(container, "video", _PICTURES, Failure.NO_PICTURES)
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        raise RefusedError(Failure.PIXELS, width, height)
    if _seconds(stream) > limits.audio_seconds:
        raise RefusedError(Failure.AUDIO_SECONDS)
    due = sent = pixels = 0
    since = _Since(container)
    for frame in container.decode(stream):
        at = since.seconds(frame)
        if at > limits.audio_seconds:
            raise RefusedError(Failure.AUDIO_SECONDS)
        place = at * per_second + _EARLY
        if sent and place < due:
            continue
        sent, pixels, due = sent + 1, pixels + frame.width * frame.height, math.floor(place) + 1
        if sent > limits.frames or pixels > limits.pixels:
            raise RefusedError(Failure.FRAMES, sent, frame.width * frame.height)
        _send_frame(frame, at, send)
    if not sent:
        raise RefusedError(Failure.NO_PICTURES)


def _send_frame(frame: Any, seconds: float, send: Send) -> None:
    rows = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    orientation = _TURNED.get(round(frame.rotation), 1)
    send(Answer(Tag.PICTURE, orientation, rows.shape[0], rows.shape[1], rows.nbytes, seconds).pack())
    send(rows.tobytes())


def _decode_sound(container: Any, rate: int, limits: Limits, send: Send) -> None:
    stream = _stream(container, "audio", _SOUNDS, Failure.NO_SOUND)
    if _seconds(stream) > limits.audio_seconds:
        raise RefusedError(Failure.AUDIO_SECONDS)
    resampler, opened, told = None, (0, 0), 0
    output, since = Output(rate, limits, send), _Since(container)
    planar = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        found = (frame.sample_rate, frame.layout.nb_channels)
        if resampler is None:
            check_sound(*found, limits)
            resampler, opened = Resampler(frame.sample_rate, output), found
        if found != opened:
            raise RefusedError(Failure.SEVERAL_STREAMS)
        missing = since.seconds(frame, otherwise=told / frame.sample_rate) - told / frame.sample_rate
        if missing > _TOGETHER:
            resampler.silence(missing)
            told += round(missing * frame.sample_rate)
        told += frame.samples
        for floats in planar.resample(frame):
            resampler.add(np.asarray(floats.to_ndarray(), np.float32).T)
    if resampler is not None:
        resampler.end()
    output.end()
