"""Chat templates for checkpoints that bring none."""

from __future__ import annotations

from collections.abc import Mapping

GEMMA_TEMPLATE = """\
{{- bos_token -}}
{%- set first = namespace(text='') -%}
{%- if messages[0]['role'] == 'system' -%}
  {%- set first.text = messages[0]['content'] | trim + '\n\n' -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
  {%- set role = 'model' if message['role'] == 'assistant' else 'user' -%}
  {%- if (message['role'] == 'assistant') != (loop.index0 % 2 == 1) -%}
    {{- raise_exception('roles must alternate user, assistant, user, ...; message ' ~ loop.index ~ ' does not') -}}
  {%- endif -%}
  {{- '<start_of_turn>' + role + '\n' + (first.text if loop.first else '') -}}
  {{- (message['content'] | trim) + '<end_of_turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""
"""Gemma 1 to 3n: no system role, so it opens the first user turn."""

NATIVE_TEMPLATE = """\
{{- bos_token -}}
{%- set turn = namespace(model=false) -%}
{%- set system = messages[0]['content'] | trim if messages[0]['role'] == 'system' else '' -%}
{%- if system or tools -%}
  {{- form.open + form.system + '\n' + system -}}
  {%- if tools -%}
    {{- ('\n' if system and form.lead else '') + form.lead -}}
    {%- for tool in tools -%}{{- tool | declaration -}}{%- endfor -%}
  {%- endif -%}
  {{- form.close + '\n' -}}
{%- endif -%}
{%- set spoken = messages[1:] if messages[0]['role'] == 'system' else messages -%}
{%- for message in spoken -%}
  {%- if message['role'] == 'tool' -%}
    {{- message | response -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- '' if turn.model else form.open + 'model\n' -}}
    {{- message['content'] | trim -}}
    {%- for call in message['tool_calls'] or [] -%}{{- call | call -}}{%- endfor -%}
    {%- set turn.model = 'tool_calls' in message -%}
    {{- '' if turn.model else form.close + '\n' -}}
  {%- else -%}
    {{- form.close + '\n' if turn.model else '' -}}
    {%- set turn.model = false -%}
    {{- form.open + message['role'] + '\n' + (message['content'] | trim) + form.close + '\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not turn.model -%}{{- form.open + 'model\n' -}}{%- endif -%}
"""
"""FunctionGemma and Gemma 4: the model's turn stays open over its calls and their results."""

FUNCTION_GEMMA_FORM: Mapping[str, str] = {
    "open": "<start_of_turn>",
    "close": "<end_of_turn>",
    "system": "developer",
    # The sentence that the model was trained with: without it no function is called.
    "lead": "You are a model that can do function calling with the following functions",
}
GEMMA_4_FORM: Mapping[str, str] = {"open": "<|turn>", "close": "<turn|>", "system": "system", "lead": ""}
