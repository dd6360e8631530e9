"""From messages to token ids through a Jinja chat template: the checkpoint's own, or Gemma's usual turns.

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
from typing import Any, NoReturn

from bezel.errors import InvalidRequestError, TemplateError
from bezel.text.messages import normalise
from bezel.text.tokenizer import Tokenizer

OUTPUT_LIMIT = 32 << 20

# Google documents this prompted form of function calling for Gemma 3.
GEMMA_TEMPLATE = """\
{{- bos_token -}}
{%- set first = namespace(text='') -%}
{%- if messages[0]['role'] == 'system' -%}
  {%- set first.text = messages[0]['content'] | trim + '\n\n' -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
  {%- set first.text = first.text + 'You have access to functions. If you decide to invoke any of the function(s), you '
    'MUST put it in the format of\n{"name": function name, "parameters": dictionary of argument name and its value}\n'
    'You SHOULD NOT include any other text in the response if you call a function\n' + (tools | tojson) + '\n\n' -%}
{%- endif -%}
{%- for message in messages -%}
  {%- set role = 'model' if message['role'] == 'assistant' else 'user' -%}
  {%- if (message['role'] == 'assistant') != (loop.index0 % 2 == 1) -%}
    {{- raise_exception('roles must alternate user, assistant, user, ...; message ' ~ loop.index ~ ' does not') -}}
  {%- endif -%}
  {{- '<start_of_turn>' + role + '\n' + (first.text if loop.first else '') -}}
  {%- for call in message['tool_calls'] or [] -%}
    {{- {'name': call['function']['name'], 'parameters': call['function']['arguments']} | tojson -}}
    {{- '' if loop.last else '\n' -}}
  {%- endfor -%}
  {{- (message['content'] | trim) + '<end_of_turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""


class ChatTemplate:
    """Renders chats for one tokenizer with `source`, a Jinja template; TemplateError where it cannot be compiled."""

    def __init__(self, tokenizer: Tokenizer, source: str | None = None) -> None:
        from jinja2 import TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer = tokenizer
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(GEMMA_TEMPLATE if source is None else source)
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

        mark = "".join(chr(0xF0000 + secrets.randbelow(0xFFF0)) for _ in range(8))
        pieces: list[str] = []
        size = 0
        try:
            for text in self._template.generate(
                messages=self._marked(normalise(messages), mark),
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


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None) -> str:
    """As Transformers' filter: plain JSON, no HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)


def _refuse(reason: str) -> NoReturn:
    raise InvalidRequestError(f"the chat template refuses these messages: {reason}")
