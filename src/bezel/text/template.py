"""From messages to token ids through a Jinja chat template: the checkpoint's own, or its dialect's.

The template sees the real content, but every "<" and ">" in it (more exactly: every first and last character of a
control piece) has an unguessable mark beside it. So no spelling that came from content is a control piece in the
rendered text, whatever stands next to it; the marks are taken out once the control pieces have been found.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from bezel.errors import InvalidRequestError, TemplateError
from bezel.text.dialects.adapting import Knows, adapted
from bezel.text.dialects.forms import Prompted, dialect_of
from bezel.text.messages import in_parts, media_of, normalise
from bezel.text.soft import Layout, Part, Soft
from bezel.text.tokenizer import Tokenizer
from bezel.text.tools import check_tools

if TYPE_CHECKING:
    from jinja2 import Environment

OUTPUT_LIMIT = 32 << 20


class ChatTemplate:
    """Renders chats for one tokenizer with `source`, a Jinja template; TemplateError where it cannot be compiled.

    `dialect` is the form of function calls that the model reads and writes, `media` the kinds of parts that it takes
    beside text.
    """

    def __init__(self, tokenizer: Tokenizer, source: str | None = None, media: Collection[str] = ()) -> None:
        from jinja2 import TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer, self._media = tokenizer, frozenset(media)
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self.dialect = dialect_of(tokenizer, source)
        if source is None:
            source = self.dialect.template
            environment.filters.update(self.dialect.filters)
            environment.globals["form"] = self.dialect.form
        try:
            self._knows, self._in_parts = _known(environment, source), _reads_parts(environment, source)
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}") from None
        edges = {edge for piece in tokenizer.control_pieces for edge in (piece[0], piece[-1])}
        self._edges = re.compile("[" + re.escape("".join(sorted(edges))) + "]") if edges else None

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Token ids of a chat of text alone. Raises InvalidRequestError for messages that the template refuses."""
        return self.lay_out(messages, tools, (), add_generation_prompt).ids

    def lay_out(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        shown: Sequence[Sequence[Part]] = (),
        add_generation_prompt: bool = True,
    ) -> Layout:
        """Token ids of a chat, and where soft tokens stand. `shown`: what stands for each image or sound, in order.

        Raises InvalidRequestError for messages that the template refuses, UnsupportedInputError for media that the
        model does not take.
        """
        mark, place, given = _unguessable(), _unguessable(), messages
        messages, tools = normalise(given, place, self._media), check_tools(tools)
        if isinstance(self.dialect, Prompted):
            messages, tools = adapted(messages, tools, self._knows, self.dialect)
        if self._in_parts:
            messages = in_parts(messages, place, iter([part.kind for part in media_of(given, self._media)]))
        text = self._rendered(messages, tools, add_generation_prompt, mark)
        parts: list[Part] = []
        waiting = deque(shown)
        for piece, control in self._tokenizer.split_control(text):
            if control and self._in_parts and waiting and piece == _opening(waiting[0]):
                parts += waiting.popleft()
                continue
            before, *behind = [piece] if control else piece.replace(mark, "").split(place)
            parts.append((before, control))
            for after in behind:
                if not waiting:
                    raise TemplateError("the chat template shows an image or a sound of these messages twice")
                parts += [*waiting.popleft(), (after, False)]
        if waiting:
            raise TemplateError("the chat template leaves out an image or a sound of these messages")
        return self._encoded(parts)

    def _encoded(self, parts: Sequence[Part]) -> Layout:
        """Soft tokens stand behind control pieces, so the text around them is encoded as it would be in one.

        Their own pieces stand in their places; padding where the embedding has no row for those.
        """
        ids: list[int] = []
        starts: list[int] = []
        run: list[tuple[str, bool]] = []
        control = self._tokenizer.control_pieces
        for part in parts:
            if not isinstance(part, Soft):
                run.append(part)
                continue
            ids += self._tokenizer.encode_segments(run)
            starts.append(len(ids))
            ids += [control.get(part.piece, control.get("<pad>", 0))] * part.count
            run.clear()
        return Layout(ids + self._tokenizer.encode_segments(run), starts)

    def _rendered(
        self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool, mark: str
    ) -> str:
        from jinja2 import TemplateError as JinjaError

        pieces: list[str] = []
        size = 0
        try:
            for text in self._template.generate(
                messages=self._marked(messages, mark),
                tools=self._marked(list(tools), mark) or None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._piece(self._tokenizer.bos_id),
                eos_token=self._piece(self._tokenizer.eos_id),
            ):
                pieces.append(text)
                size += len(text)
                if size > OUTPUT_LIMIT:
                    raise TemplateError(f"the chat template wrote more than {OUTPUT_LIMIT} characters")
        except (InvalidRequestError, TemplateError):
            raise
        except (JinjaError, TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            raise TemplateError(f"the chat template failed on these messages: {error}") from error
        return "".join(pieces)

    def _piece(self, token_id: int | None) -> str:
        return "" if token_id is None else self._tokenizer.piece(token_id)

    def _marked(self, value: Any, mark: str) -> Any:
        """`value` with marks around every edge of a control piece, in every string of it, keys included."""
        if isinstance(value, str):
            return self._edges.sub(lambda edge: mark + edge[0] + mark, value) if self._edges else value
        if isinstance(value, Mapping):
            return {self._marked(key, mark): self._marked(item, mark) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._marked(item, mark) for item in value]
        return value


def _unguessable() -> str:
    return "".join(chr(0xF0000 + secrets.randbelow(0xFFF0)) for _ in range(8))


def _known(environment: Environment, source: str) -> Knows:
    """What a template writes by itself, by the words in it."""
    from jinja2 import meta, nodes

    tree = environment.parse(source)
    texts = {node.value for node in tree.find_all(nodes.Const)} | {node.attr for node in tree.find_all(nodes.Getattr)}
    declares = "tools" in meta.find_undeclared_variables(tree)
    return Knows(tools=declares, calls="tool_calls" in texts, results="tool" in texts)


def _reads_parts(environment: Environment, source: str) -> bool:
    """Whether a template wants every content as a list of parts: it looks for images and at no string."""
    from jinja2 import nodes

    tree = environment.parse(source)
    texts = {node.value for node in tree.find_all(nodes.Const)} | {node.attr for node in tree.find_all(nodes.Getattr)}
    return {"type", "image"} <= texts and all(node.name != "string" for node in tree.find_all(nodes.Test))


def _opening(media: Sequence[Part]) -> str | None:
    """The control piece that such a template writes where an image or a sound stands: the first of its own."""
    return next((part[0] for part in media if not isinstance(part, Soft) and part[1]), None)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None) -> str:
    """As Transformers' filter: plain JSON, no HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)


def _refuse(reason: str) -> NoReturn:
    raise InvalidRequestError(f"the chat template refuses these messages: {reason}")
