"""Why a child refused a file, in words. The child sends numbers only, since what it read may have taken it over."""

from __future__ import annotations

from bezel.errors import CorruptMediaError, MediaError, MediaTooLargeError, UnsupportedMediaError
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.protocol import Answer, Failure


def refusal(answer: Answer, format: Format, limits: Limits) -> MediaError:
    """The error that a FAILURE answer stands for."""
    a, b = answer.first, answer.second
    large = {
        Failure.PIXELS: f"the picture is {a} x {b} pixels; at most {limits.pixels:,} in all are read: make it smaller",
        Failure.FRAMES: f"{a} frames or more, of {b:,} pixels; at most {limits.frames:,} frames and {limits.pixels:,} "
        "pixels in all are read: ask for fewer frames a second, or send a shorter or smaller one",
        Failure.AUDIO_SECONDS: f"longer than the {limits.audio_seconds:g} s that are read at most: send it in parts",
        Failure.CHANNELS: f"the sound has {a} channels; 1 to {limits.channels} are read: mix it down",
        Failure.MEMORY: f"decoding takes more than {limits.memory:,} bytes of memory: make it smaller",
    }
    unsupported = {
        Failure.RATE: f"{a:,} samples a second; {limits.lowest_rate:,} to {limits.highest_rate:,} are read",
        Failure.ANIMATED: f"the picture is an animation of {a} frames: ask for its frames, or send one as a picture",
        Failure.ENCODING: f"this kind of {format.name} is not read: convert it to a common one",
        Failure.SEVERAL_STREAMS: "several streams in one file: send each as a file of its own",
        Failure.NO_PICTURES: "there are no pictures in it: send it as sound",
        Failure.NO_SOUND: "there is no sound in it",
        Failure.ENCRYPTED: "it is encrypted",
    }
    corrupt = {
        Failure.TRUNCATED: "the file is cut off: send the whole file",
        Failure.NO_SAMPLES: "the file holds no samples: is it the right one?",
        Failure.BAD_SAMPLES: "the samples are no numbers within full scale: write the file again as 16-bit",
    }
    for error, texts in (
        (MediaTooLargeError, large),
        (UnsupportedMediaError, unsupported),
        (CorruptMediaError, corrupt),
    ):
        for code, text in texts.items():
            if code == answer.code:
                return error(f"{format.name}: {text}")
    return CorruptMediaError(f"{format.name}: the file is broken; open it in another program and save it again")
