"""A recording is translated while it is heard: python examples/live_translation.py TALK.ogg [LANGUAGE] [MODEL]

Every piece is printed as soon as its pause is over, with its time; at the end the subtitles lie beside the recording.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bezel
from bezel.text.subtitles import Segment

HEARS = "google/gemma-3n-E2B-it"


def follow(model: bezel.Model, recording: str, language: str, **options: Any) -> Path:
    """Print each piece in `language` as it is heard, and write all of them as WebVTT."""

    def tell(piece: Segment) -> None:
        print(f"[{piece.start:7.1f} s] {piece.text}", flush=True)

    subtitles = Path(recording).with_suffix(".vtt")
    heard = model.translate(recording, language, listen=tell, **options)
    subtitles.write_text(heard.write("vtt"), "utf-8")
    return subtitles


def main(recording: str, language: str = "en", name: str = HEARS) -> None:
    """Translate a recording of any length."""
    print(f"Subtitles: {follow(bezel.load(name), recording, language)}")


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
