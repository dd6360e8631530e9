"""From messages to token ids through a Jinja chat template: the checkpoint's own, or its dialect's.

The template sees the real content, but every "<" and ">" in it (more exactly: every first and last character of a
control piece) has an unguessable mark beside it. So no spelling that came from content is a control piece in the
rendered text, whatever stands next to it; the marks are taken out once the control pieces have been found.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from bezel.errors import InvalidRequestError, TemplateError
from bezel.text.dialects.adapting import Knows, adapted
from bezel.text.dialects.forms import Prompted, dialect_of
from bezel.text.messages import normalise
from bezel.text.tokenizer import Tokenizer
from bezel.text.tools import check_tools

if TYPE_CHECKING:
    from jinja2 import Environment

OUTPUT_LIMIT = 32 << 20


class ChatTemplate:
    """Renders chats for one tokenizer with `source`, a Jinja template; TemplateError where it cannot be compiled.

    `dialect` is the form of function calls that the model reads and writes.
    """

    def __init__(self, tokenizer: Tokenizer, source: str | None = None) -> None:
        from jinja2 import TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer = tokenizer
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
            self._knows = _known(environment, source)
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
        """Token ids of a chat. Raises InvalidRequestError for messages that the template refuses."""
        from jinja2 import TemplateError as JinjaError

        messages, tools = normalise(messages), check_tools(tools)
        if isinstance(self.dialect, Prompted):
            messages, tools = adapted(messages, tools, self._knows, self.dialect)
        mark = "".join(chr(0xF0000 + secrets.randbelow(0xFFF0)) for _ in range(8))
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
        segments = self._tokenizer.split_control("".join(pieces))
        return self._tokenizer.encode_segments((text.replace(mark, ""), control) for text, control in segments)

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


def _known(environment: Environment, source: str) -> Knows:
    """What a template writes by itself, by the words in it."""
    from jinja2 import meta, nodes

    tree = environment.parse(source)
    texts = {node.value for node in tree.find_all(nodes.Const)} | {node.attr for node in tree.find_all(nodes.Getattr)}
    declares = "tools" in meta.find_undeclared_variables(tree)
    return Knows(tools=declares, calls="tool_calls" in texts, results="tool" in texts)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None) -> str:
    """As Transformers' filter: plain JSON, no HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)


def _refuse(reason: str) -> NoReturn:
    raise InvalidRequestError(f"the chat template refuses these messages: {reason}")
