"""The prefix that a prompt of PaliGemma is: one span of images and text that see each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bezel.models.interface import SoftSpan


def prefix_of(ids: Sequence[int], images: Sequence[SoftSpan]) -> SoftSpan:
    """A prompt whose first tokens are `images`, one behind the other, as the one span that it is.

    It is known by all of its content: what any of its rows holds depends on every other.
    """
    soft = images[-1].end
    key = hashlib.sha256(b"".join([*(image.key for image in images), np.array(ids[soft:], "<i8").tobytes()])).digest()
    return SoftSpan(
        0, len(ids), key, lambda: np.concatenate([image.embed() for image in images]), soft=soft, prefix=True
    )
