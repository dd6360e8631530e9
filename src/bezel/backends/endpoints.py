"""Places that speak OpenAI's protocol: where they are, which variable holds their key, and what each lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bezel.errors import InvalidRequestError


@dataclass(frozen=True)
class Endpoint:
    """One of them. `lacks` names fields of `chat/completions` that it does not take, `also` what it takes beside them.

    "system" in `lacks`: a message of that role; its text then opens the first user's message, as in Gemma's own form.
    Fields in braces in `url` come from environment variables of these names, and `url_variable` names one that may hold
    the whole address.
    """

    name: str
    url: str
    key_variable: str | None = None
    url_variable: str | None = None
    lacks: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()

    def at(self, url: str | None, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """With another address, or its own made whole. InvalidRequestError where a variable of it is not set."""
        url = url or environment.get(self.url_variable or "")
        try:
            return replace(self, url=url or self.url.format_map(environment))
        except KeyError as missing:
            raise InvalidRequestError(
                f"the address of {self.name} needs {missing.args[0]}; set this environment variable, or give base_url"
            ) from None

    def key(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The key, from the environment. InvalidRequestError where none is set and the endpoint is not a local one."""
        key = environment.get(self.key_variable or "")
        if not key and self.key_variable and self.url.startswith("https:"):
            raise InvalidRequestError(f"{self.name} needs a key; put it into {self.key_variable}")
        return key


_LLM_SERVER = frozenset({"top_k", "min_p", "repetition_penalty"})
_HOSTED_GEMMA_3 = frozenset({"system", "tools", "response_format", "logit_bias", "logprobs"})

ENDPOINTS = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        Endpoint("vllm", "http://127.0.0.1:8000/v1", also=_LLM_SERVER | {"structured_outputs"}),
        Endpoint(
            "ollama", "http://127.0.0.1:11434/v1", lacks=frozenset({"logit_bias", "tool_choice", "parallel_tool_calls"})
        ),
        Endpoint(
            "google",
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "GEMINI_API_KEY",
            lacks=_HOSTED_GEMMA_3,
        ),
        Endpoint(
            "vertex",
            "https://{VERTEX_LOCATION}-aiplatform.googleapis.com/v1beta1/projects/{VERTEX_PROJECT}"
            "/locations/{VERTEX_LOCATION}/endpoints/{VERTEX_ENDPOINT}",
            "VERTEX_ACCESS_TOKEN",
            also=_LLM_SERVER,
        ),
        Endpoint("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", lacks=frozenset({"logit_bias"})),
    )
}
"""Presets by name. Vertex AI serves a deployed Gemma with vLLM; its token is that of `gcloud auth print-access-token`.
NVIDIA's and Google's catalogues serve hosted models, Google's Gemma 3 without roles, tools and grammars."""


def endpoint(name: str) -> Endpoint:
    """A preset. InvalidRequestError, with the names known, for any other."""
    if name not in ENDPOINTS:
        raise InvalidRequestError(
            f"unknown backend {name!r}; choose native, transformers or one of {', '.join(ENDPOINTS)}"
        )
    return ENDPOINTS[name]
