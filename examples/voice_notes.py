"""A spoken note becomes text and a list of things to do: python examples/voice_notes.py NOTE.ogg [MODEL]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bezel

HEARS = "google/gemma-3n-E2B-it"


@dataclass
class Task:
    """Something to do, and by when; "" where nobody said."""

    what: str
    due: str


@dataclass
class Note:
    """A note in short."""

    title: str
    tasks: list[Task]


def take(model: bezel.Model, recording: str, **options: Any) -> tuple[str, Note | None]:
    """What was said, however long, and what follows from it; None where that answer was cut off."""
    said = model.transcribe(recording).text
    question = f"Give this note a title, and list what its speaker has to do.\n\n{said}"
    return said, model.chat(question, schema=Note, **{"temperature": 0, "max_tokens": 500, **options}).parsed


def main(recording: str, name: str = HEARS) -> None:
    """Print the title, the tasks, and the words."""
    said, note = take(bezel.load(name), recording)
    if note is not None:
        print(f"# {note.title}\n")
        for task in note.tasks:
            print(f"- [ ] {task.what}" + (f" (by {task.due})" if task.due else ""))
        print()
    print(said)


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
