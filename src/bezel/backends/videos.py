"""Videos of messages: frames, each behind its time, and sound, as the images and sounds that models take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.backends.sources import file_bytes
from bezel.errors import InvalidRequestError, UnsupportedInputError
from bezel.media.decoding import decode_video
from bezel.media.fetching import Sources
from bezel.media.silences import pieces_of
from bezel.text.messages import NO_VIDEO, is_video, media_of, parts_of

_MOST_PER_SECOND = 30.0
_RATE = 16_000


@dataclass(frozen=True)
class Takes:
    """What a model takes: images, and sounds of at most `seconds` at `rate` Hz (0: none)."""

    sees: bool
    seconds: float = 0.0
    rate: int = _RATE


def unfolded(messages: Sequence[Mapping[str, Any]], sources: Sources, takes: Takes) -> Sequence[Mapping[str, Any]]:
    """Messages without videos: where one stood are texts "00:05", images, and the sound in pieces.

    A part is {"type": "video", "video": a path, data URL or bytes, "fps": 1, "sound": true} or has OpenAI's shape as
    {"type": "video_url", "video_url": {"url": ...}}. Raises UnsupportedInputError for a model that does not see, or
    does not hear what is to be heard, InvalidRequestError for a field that cannot be, and MediaError.
    """
    if not any(is_video(part) for message in messages for part in parts_of(message)):
        return messages
    # Errors name parts as they were sent, so what is no video is looked at before others stand in between.
    media_of(messages, [kind for kind, taken in (("image", takes.sees), ("audio", takes.seconds > 0)) if taken])
    found = []
    for index, message in enumerate(messages):
        if not any(map(is_video, parts_of(message))):
            found.append(message)
            continue
        where = f"messages[{index}].content"
        if message.get("role") != "user":
            raise UnsupportedInputError(f"{where} has a video; only a user's message may have one")
        parts: list[Any] = []
        for place, part in enumerate(parts_of(message)):
            parts += _unfolded(part, f"{where}[{place}]", sources, takes) if is_video(part) else [part]
        found.append({**message, "content": parts})
    return found


def _unfolded(part: Mapping[str, Any], where: str, sources: Sources, takes: Takes) -> list[dict[str, Any]]:
    if not takes.sees:
        raise UnsupportedInputError(f"{where} {NO_VIDEO}")
    per_second, heard = part.get("fps", 1.0), part.get("sound", True)
    if type(per_second) not in (int, float) or not 0 < per_second <= _MOST_PER_SECOND or type(heard) is not bool:
        raise InvalidRequestError(
            f"{where}: fps must be a number above 0 and at most {_MOST_PER_SECOND:g}, and sound true or false"
        )
    video = decode_video(_data(part, where, sources), per_second=per_second, rate=takes.rate if heard else None)
    found: list[dict[str, Any]] = []
    for picture, seconds in zip(video.frames.pictures, video.frames.seconds, strict=True):
        found.append({"type": "text", "text": f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"})
        found.append({"type": "image", "image": picture, "detail": "low"})
    if video.sound is not None:
        if not takes.seconds:
            raise UnsupportedInputError(
                f'{where} has sound, and this model does not hear; send "sound": false to show its frames alone '
                "(--mute), or load a Gemma 3n, such as google/gemma-3n-E2B-it"
            )
        for piece in pieces_of(video.sound, takes.rate, takes.seconds, 0.0):
            found.append({"type": "audio", "audio": video.sound[piece.first : piece.last]})
    return found


def _data(part: Mapping[str, Any], where: str, sources: Sources) -> bytes:
    source: Any = part.get(part["type"])
    source = source.get("url") if isinstance(source, Mapping) else source
    named = source is not None and not (isinstance(source, str) and not source)
    data = file_bytes(source, sources) if named else None
    if isinstance(data, bytes) and data:
        return data
    raise InvalidRequestError(f"{where} names no video; send video with a path or bytes, or video_url with a url")
