"""An assistant over a folder of notes that no network sees: python examples/private_assistant.py FOLDER [MODEL]

Nothing is downloaded and nothing is sent: a model that is not here already is an error, not a request.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import bezel
from bezel.tools import Transcript

MOST_CHARACTERS = 4000


def functions_over(folder: Path) -> list[Callable[..., Any]]:
    """What the model may do with the notes: look for words in them, and read one."""
    notes = {path.stem: path for path in sorted(folder.glob("*.txt")) + sorted(folder.glob("*.md"))}

    def search_notes(words: str) -> str:
        """Names of the notes in which all words stand.

        Args:
            words: What to look for.
        """
        wanted = words.lower().split()
        found = (name for name, path in notes.items() if all(w in path.read_text("utf-8").lower() for w in wanted))
        return ", ".join(found) or "no note has them"

    def read_note(name: str) -> str:
        """The text of a note.

        Args:
            name: The note's name.
        """
        if name not in notes:
            raise ValueError(f"there is no note {name!r}; there are {', '.join(notes) or 'none'}")
        text = notes[name].read_text("utf-8")
        return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "\n(the note goes on)"

    return [search_notes, read_note]


def assist(model: bezel.Model, folder: Path, questions: Iterable[str], **options: Any) -> Iterable[Transcript]:
    """Answer questions one after the other, each with what was said before it."""
    functions = functions_over(folder)
    messages: list[dict[str, Any]] = []
    for question in questions:
        done = model.run_tools([*messages, {"role": "user", "content": question}], functions, **options)
        messages = [dict(message) for message in done.messages]
        yield done


def main(folder: str, name: str = "tiny") -> None:
    """Answer the lines of standard input."""
    print("One question a line; Ctrl-D ends.", file=sys.stderr)
    questions = (line.strip() for line in sys.stdin if line.strip())
    for done in assist(bezel.load(name), Path(folder), questions, max_tokens=400):
        for run in done.runs:
            print(f"({run.call.name} {run.call.arguments})")
        print(done.text)


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
