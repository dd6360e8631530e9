"""Questions about a picture or a sound as ids, laid out by the template that answers are asked with."""

from collections.abc import Sequence
from pathlib import Path

from bezel.text.soft import Layout, Part
from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from recipes.tiny.packing import Strands


class Prompts:
    """Of a tokenizer's folder. `kind` is "image" or "audio", `parts` what stands for one."""

    def __init__(self, folder: Path, kind: str, parts: Sequence[Part]) -> None:
        self.tokenizer = Tokenizer.from_folder(folder)
        self._template = ChatTemplate(self.tokenizer, media=[kind])
        self._kind, self._parts = kind, parts
        self._end = self.tokenizer.control_pieces["<end_of_turn>"]
        first, second = self._ids("A"), self._ids("7")
        common = [a == b for a, b in zip(first, second, strict=False)]
        self.shared = first[: common.index(False)]
        """Ids that every prompt begins with."""
        self.start = self._layout("A").starts[0]
        """The place of the first soft token."""

    def strands(self, questions: Sequence[tuple[str, str]]) -> Strands:
        """Questions and their answers, which share the picture or the sound."""
        found = []
        for question, answer in questions:
            ids = self._ids(question)
            assert ids[: len(self.shared)] == self.shared, question
            found.append((ids[len(self.shared) :], [*self.tokenizer.encode(answer), self._end]))
        return self.shared, found

    def _ids(self, question: str) -> list[int]:
        return self._layout(question).ids

    def _layout(self, question: str) -> Layout:
        content = [{"type": self._kind, self._kind: "it"}, {"type": "text", "text": question}]
        return self._template.lay_out([{"role": "user", "content": content}], shown=[self._parts])
