"""What every generator of pictures returns."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bezel.training.data.example import Split
from bezel.training.data.pictures.canvas import Drawn

Task = Literal["highest", "lowest", "trend", "value", "text"]


@dataclass(frozen=True)
class Asked:
    """A question about a picture, the answer to give, and what kind of answer it is."""

    question: str
    answer: str
    task: Task


@dataclass(frozen=True)
class Seen:
    """A picture and questions about it."""

    drawn: Drawn
    asked: tuple[Asked, ...]


Generator = Callable[[random.Random, Split], Seen]
