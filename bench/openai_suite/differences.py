"""What the server refuses of what OpenAI's own client tests send, and why. Every entry is checked, here and in CI."""

from __future__ import annotations

from typing import Any

_NOT_KEPT = "answers are not kept"
_SCORES = "content is not scored by the endpoint; see safety"
_NO_ID = "is no token id"
_SPEAKERS = "no model here tells speakers apart"

CHAT: dict[str, tuple[Any, str]] = {
    "audio": ({"format": "wav", "voice": "alloy"}, "no model here speaks"),
    "function_call": ("none", "the older form of tool_choice"),
    "functions": ([{"name": "name"}], "the older form of tools"),
    "logit_bias": ({"foo": 0}, f"foo {_NO_ID}"),
    "max_completion_tokens": (0, "no answer has no tokens"),
    "max_tokens": (0, "no answer has no tokens"),
    "moderation": ({"model": "model"}, _SCORES),
    "store": (True, _NOT_KEPT),
    "verbosity": ("low", "no model here was taught it; medium is taken"),
    "web_search_options": ({"search_context_size": "low"}, "nothing is searched"),
}
COMPLETIONS: dict[str, tuple[Any, str]] = {
    "best_of": (0, "the best of no answers"),
    "logit_bias": ({"foo": 0}, f"foo {_NO_ID}"),
    "logprobs": (0, "not together with echo"),
    "suffix": ("test.", "Gemma was not taught to fill in"),
}
RESPONSES: dict[str, tuple[Any, str]] = {
    "access_programs": ({"cyber": "standard"}, "there are none"),
    "background": (True, _NOT_KEPT),
    "background_options": ({"completion_window": "soonest"}, _NOT_KEPT),
    "context_management": ([{"type": "compaction"}], "nothing is left out of a conversation"),
    "conversation": ("string", _NOT_KEPT),
    "image": ({"context_compression": "auto"}, "images are not compressed"),
    "moderation": ({"model": "model"}, _SCORES),
    "personality": ("friendly", "say it in instructions"),
    "previous_response_id": ("previous_response_id", _NOT_KEPT),
    "prompt": ({"id": "id"}, "prompts are not kept"),
    "prompt_cache_options.comparison_response_id": ("resp_123", _NOT_KEPT),
    "prompt_cache_options.prewarm": (True, "a prompt is read when it is answered"),
    "store": (True, _NOT_KEPT),
    "text.verbosity": ("low", "no model here was taught it; medium is taken"),
    "tools[0].allowed_callers": (["direct"], "tools are called by the model alone"),
    "tools[0].async": (True, "tools are called by clients, as they like"),
    "tools[0].defer_loading": (True, "every tool is shown"),
    "tools[0].output_schema": ({"foo": "bar"}, "models are not shown it"),
}
FILES: dict[str, tuple[Any, str]] = {
    "expires_after[anchor]": ("created_at", "files are kept until they are deleted"),
    "expires_after[seconds]": ("3600", "files are kept until they are deleted"),
}
BATCHES: dict[str, tuple[Any, str]] = {
    "output_expires_after": ({"anchor": "created_at", "seconds": 3600}, "files are kept until they are deleted"),
}
TRANSCRIPTIONS: dict[str, tuple[Any, str]] = {
    "include[]": ("logprobs", "pieces are heard one by one, and told as text"),
    "keywords[]": ("string", "models hear what is said"),
    "known_speaker_names[]": ("string", _SPEAKERS),
    "known_speaker_references[]": ("string", _SPEAKERS),
    "languages[]": ("string", "say one language"),
    "prompt": ("prompt", "no text goes before what is heard"),
    "timestamp_granularities[]": ("word", "times are those of pieces"),
}
TRANSLATIONS: dict[str, tuple[Any, str]] = {"prompt": ("prompt", "no text goes before what is heard")}

PARAMETERS: dict[str, dict[str, tuple[Any, str]]] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/responses": RESPONSES,
    "/responses/input_tokens": RESPONSES,
    "/files": FILES,
    "/batches": BATCHES,
    "/audio/transcriptions": TRANSCRIPTIONS,
    "/audio/translations": TRANSLATIONS,
}
"""Of each address: a parameter, a value that is refused, and the reason. Cases that send one are run without it."""

QUERIES = {"/batches": ("limit",), "/files": ("limit",)}
"""Of lists: a limit of 0, where OpenAI too says 1 at least."""

CASES = [
    (r"chat/test_completions.*_(retrieve|update|list|delete)", "Error code: 40[45]", _NOT_KEPT),
    (r"completions/test_messages.*_list", "Error code: 404", _NOT_KEPT),
    (r"test_responses.*_(retrieve|delete|cancel)", "Error code: 40[45]", _NOT_KEPT),
    (r"test_responses.*_compact", "Error code: 40[45]", "nothing is left out of a conversation"),
    (r"test_input_items.*_list", "Error code: 404", _NOT_KEPT),
    (r"test_models.*_delete", "Error code: 405", "models are chosen when the server is started"),
    (
        r"test_embeddings.*_create\[(strict|aiohttp)\]",
        "invalid for expected schema",
        "the client asks for base64 and takes none here",
    ),
    (r"test_transcriptions.*_create.*_overload_2", "Error code: 400", "a transcription is told when it is whole"),
]
"""Cases that cannot pass: patterns of their names and of how they must fail, and the reason."""
