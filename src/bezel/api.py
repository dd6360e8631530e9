"""The Python API: `bezel.load("google/gemma-3-1b-it").chat("Hello").text`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bezel.backends.bench import Bench, bench
from bezel.backends.embedding import EmbeddingBackend
from bezel.backends.interface import Delta, Event, Request, Result, SpeculationMode
from bezel.backends.native import NativeBackend, collect, sampling_with
from bezel.backends.opening import open_backend
from bezel.catalog.hardware import MemoryUse, memory_use
from bezel.engine.scheduler import Statistics
from bezel.errors import ConstraintFailedError, InvalidRequestError, UnsupportedInputError
from bezel.generation import loop
from bezel.generation.sampling import whole
from bezel.kernels.interface import F32
from bezel.media.fetching import Sources
from bezel.structured import check_document, constraint_of, parsed
from bezel.text.calls import CallBroken, CallFinished
from bezel.text.tools import ToolChoice, check_tools
from bezel.text.tools import tool_choice as read_tool_choice

if TYPE_CHECKING:
    from bezel.backends.opening import AnyBackend
    from bezel.text.subtitles import Segment, Transcription
    from bezel.tools import Tool, ToolRun, Transcript

Messages = str | Sequence[Mapping[str, Any]]
LOCAL = Sources(files=True)


def load(
    model: str = "tiny",
    level: str | None = None,
    context: int | None = None,
    threads: int | None = None,
    sequences: int = 8,
    draft: str | None = None,
    cache: str = "f16",
    size: str | Sequence[int] | None = None,
    fit: str | int | None = None,
    profile: str | None = None,
    mmproj: str | None = None,
    keep_towers: bool | None = None,
    backend: str = "native",
    base_url: str | None = None,
    api_key: str | None = None,
    device: str | None = None,
) -> Model:
    """Load a model: "tiny" (embedded), a hub name, `repo@revision`, `repo:file.gguf` or a local path.

    `level` is "maximum_efficiency" (4 bit), "balanced" (8 bit), "performance" (BF16) or None for what is stored.
    `context` is in tokens (default: 8,192, or the model's most where that is less). `threads` defaults to one for
    each processor that may be used. `sequences` answers are produced at once at most; memory for their keys and values
    is taken as it is needed. `draft` names a smaller model with the same vocabulary that drafts tokens for this one,
    which answers the same in fewer passes. `cache` is what keys and values are kept in: "f16", "q8_0" (half of that)
    or "f32".

    `size` cuts a Gemma 3n smaller while it is loaded: "E2B", "E2.98B" or another published MatFormer size, or one FFN
    width a layer, 0 where the layer is left out. `fit` ("2.3GB", or bytes) chooses the best size, precision and context
    whose predicted memory is within it; `profile` "edge" chooses E2B, 8 bit where it fits and else 4, 2,048 tokens
    and one answer at a time. What is given beside them stays as it is; `describe()["chosen"]` says what was chosen.

    A model with an image tower (Gemma 3 from 4B up, Gemma 3n, PaliGemma) takes images in messages, one with an audio
    tower (Gemma 3n) sounds; a tower is read with the first of them. Of a GGUF file it lies in a second one, `mmproj`
    (default for images of Gemma 3: the one in the same folder with "mmproj" in its name). Without `keep_towers` a tower
    is read for each request anew and is gone before the model answers; of Gemma 3n's, no more than a block is in memory
    at a time. Default: they are kept, but not with a profile, nor those of Gemma 3n with `fit`.

    `backend` "transformers" runs the model on a torch `device` ("cuda", "mps", "cpu", ...). Others ask a model
    elsewhere: "openai" (any endpoint that speaks its protocol, at `base_url`), "vllm", "ollama", "google", "vertex" or
    "nvidia"; `model` is then its name there, and the key comes from `api_key` or the environment
    (`backends.endpoints`). What belongs to loading natively stays out; `context` is what its model holds there.

    Raises a `bezel.errors.BezelError` that says what to do next.
    """
    return Model(
        open_backend(
            model,
            level,
            context,
            threads,
            sequences,
            draft,
            cache,
            size,
            fit,
            profile,
            mmproj,
            keep_towers,
            backend,
            base_url,
            api_key,
            device,
        )
    )


class Model:
    """A loaded model. Sampling parameters go by the field's names: temperature, top_p, top_k, seed, ..."""

    def __init__(self, backend: AnyBackend) -> None:
        self._backend = backend

    @property
    def _native(self) -> NativeBackend:
        if not isinstance(self._backend, NativeBackend):
            engine = self._backend.describe()["engine"]
            raise UnsupportedInputError(
                f"a model on {engine} cannot do this; load one that writes here (backend native)"
            )
        return self._backend

    @property
    def _holds(self) -> bool:
        """Whether the engine holds answers to a schema itself; an endpoint may or may not."""
        return isinstance(self._backend, NativeBackend)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer: `encode(text)`, `decode(ids)`."""
        return getattr(self._backend, "tokenizer", None) or self._native.tokenizer

    def embed(self, texts: str | Sequence[str], task: str | None = None, dimensions: int | None = None) -> F32:
        """Embeddings of texts: float32 [texts, dimensions], each of length 1, so that a dot product compares two.

        `task` is one of `describe()["tasks"]` and says what they are for; a question is a "query" for "document"s.
        `dimensions` keeps the first ones alone (EmbeddingGemma: 768, 512, 256 or 128). Raises UnsupportedInputError for
        a model that writes, and InvalidRequestError.
        """
        if not isinstance(self._backend, EmbeddingBackend):
            raise UnsupportedInputError("this model writes and embeds nothing; load google/embeddinggemma-300m")
        return self._backend.embed([texts] if isinstance(texts, str) else texts, task, dimensions)

    def request(
        self,
        messages: Messages | None = None,
        prompt: str | Sequence[int] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = (),
        logprobs: int | None = None,
        speculation: SpeculationMode = "auto",
        tool_choice: ToolChoice | Mapping[str, Any] = "auto",
        parallel_tool_calls: bool = True,
        schema: Any = None,
        regex: str | None = None,
        grammar: str | None = None,
        choices: Sequence[str] | None = None,
        pan_and_scan: bool | None = None,
        sources: Sources = LOCAL,
        **sampling: Any,
    ) -> Request:
        """A request with the checkpoint's recommended sampling where nothing else is said.

        What an answer must look like: `schema` (a JSON Schema, a pydantic model, a dataclass or another Python type),
        `regex`, `grammar` (in llguidance's form of Lark) or `choices` (one of these texts); one of them at most.

        Content parts of a message: {"type": "text", "text": ...}, {"type": "image", "image": ...} with a path, a
        file's bytes, a PIL image or a uint8 array [height, width, 3], and OpenAI's {"type": "image_url", "image_url":
        {"url": "data:..."}}; sounds of 30 s at most as {"type": "audio", "audio": ...} with a path, a file's bytes or
        float32 samples at 16 kHz, and OpenAI's {"type": "input_audio", "input_audio": {"data": "..."}}; videos as
        {"type": "video", "video": path or bytes, "fps": 1, "sound": True}, which models see as frames and hear. With
        `pan_and_scan` long images are seen in crops too; None: large and very long ones, unless their "detail" says
        "low" or "high". `sources`: whether paths (by default) and web addresses are read.

        `speculation`: "off", "lookup" (drafts from the text's own repetitions), "draft" (by the draft model) or "auto".
        `tools` are OpenAI's schemas; nothing is executed (see `run_tools`). `tool_choice`: "none", "auto", "required"
        or a tool by name; without `parallel_tool_calls` an answer ends behind its first call.
        """
        chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return Request(
            messages=chat,
            prompt=prompt if prompt is None or isinstance(prompt, str) else loop.as_ids(prompt),
            tools=check_tools(tools),
            sampling=sampling_with(self._backend.sampling, sampling),
            max_tokens=None if max_tokens is None else whole("max_tokens", max_tokens, 1),
            stop=_stops(stop),
            logprobs=None if logprobs is None else whole("logprobs", logprobs, 0),
            speculation=speculation,
            tool_choice=read_tool_choice(tool_choice),
            parallel_tool_calls=parallel_tool_calls,
            constraint=constraint_of(schema, regex, grammar, choices),
            pan_and_scan=pan_and_scan,
            sources=sources,
        )

    def events(self, request: Request) -> Iterator[Event]:
        """Deltas and calls as they are produced, then one Finish with counts and times."""
        return self._backend.stream(request)

    def chat(self, messages: Messages, **options: Any) -> Result:
        """Answer one user message or a whole conversation. `options`: see `request`.

        With a `schema` the result's `parsed` is the object that the answer spells, unless it was cut off. Raises
        ConstraintFailedError, with the answer in its message, where that makes no object.
        """
        return self.answer(self.request(messages=messages, **options), schema=options.get("schema"))

    def complete(self, prompt: str | Sequence[int], **options: Any) -> Result:
        """Continue a text (or token ids) without a chat template."""
        return self.answer(self.request(prompt=prompt, **options), schema=options.get("schema"))

    def answer(self, request: Request, listen: Callable[[Event], object] | None = None, schema: Any = None) -> Result:
        """Answer a request; `listen` is told of each event as it comes, and `schema` says what `parsed` shall be."""
        return _result(request, _told(self.events(request), listen), schema, self._holds)

    def stream(self, messages: Messages, **options: Any) -> Iterator[str]:
        """Pieces of the answer's text as they are produced. Closing the iterator cancels the request."""
        for event in self.events(self.request(messages=messages, **options)):
            if isinstance(event, Delta) and event.text:
                yield event.text

    def chat_batch(self, conversations: Sequence[Messages], **options: Any) -> list[Result]:
        """Answer several conversations together; the answers come in their order. `options`: see `request`."""
        if isinstance(conversations, str):
            raise InvalidRequestError("conversations is one text; send a list of them")
        requests = [self.request(messages=messages, **options) for messages in conversations]
        answers = zip(requests, self._backend.answers(requests), strict=True)
        return [_result(request, events, options.get("schema"), self._holds) for request, events in answers]

    def run_tools(
        self,
        messages: Messages,
        tools: Iterable[Tool | Callable[..., Any]],
        max_rounds: int = 8,
        timeout: float = 60.0,
        parallel: bool = True,
        listen: Callable[[Event | ToolRun], object] | None = None,
        **options: Any,
    ) -> Transcript:
        """Answer with the help of Python functions (or `Tool`s), which are executed in this process.

        Each of at most `max_rounds` answers may call tools, each for at most `timeout` seconds and side by side unless
        `parallel` is False; results are fed back until the model answers in words. Exceptions, arguments that do not
        fit and unknown names become results too. `listen` is told of each event of each answer and of each run. A
        `tool_choice` other than "none" holds for the first answer. `options`: see `request`.
        """
        from bezel.tools.loop import run_tools

        def ask(chat: Sequence[Mapping[str, Any]], schemas: Sequence[Mapping[str, Any]]) -> Result:
            request = self.request(messages=chat, tools=schemas, **options)
            if options.get("tool_choice") not in (None, "none"):
                options["tool_choice"] = "auto"
            return self.answer(request, listen)

        chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return run_tools(ask, chat, tools, max_rounds, timeout, parallel, listen)

    def transcribe(
        self,
        source: Any,
        language: str | None = None,
        listen: Callable[[Segment], object] | None = None,
        sources: Sources = LOCAL,
        **options: Any,
    ) -> Transcription:
        """What is said in a recording of up to six hours: `.text`, `.segments` with their times, `.write("srt")`.

        `source`: a path, a file's bytes (1 GiB at most), a data URL, or float32 samples of any length at the model's
        rate (16 kHz). `language`: what is spoken (en, es, fr, it, pt, or a name); None leaves it to the model. It is
        cut at pauses into pieces of 30 s at most, of which `listen` is told as they are heard. `options`: see
        `request`; greedy where nothing is said. Raises UnsupportedInputError for a model that does not hear, MediaError
        for a file that cannot be read, and UnfinishedSpeechError, with what was heard, where the model does not come to
        an end.
        """
        return self._speech(source, language, None, listen, sources, options)

    def translate(
        self,
        source: Any,
        into: str = "en",
        language: str | None = None,
        listen: Callable[[Segment], object] | None = None,
        sources: Sources = LOCAL,
        **options: Any,
    ) -> Transcription:
        """What is said in a recording, in another language. See `transcribe`.

        Raises UnsupportedInputError too for a language that the model is known not to translate into.
        """
        return self._speech(source, language, into, listen, sources, options)

    def _speech(
        self,
        source: Any,
        language: str | None,
        into: str | None,
        listen: Callable[[Segment], object] | None,
        sources: Sources,
        options: dict[str, Any],
    ) -> Transcription:
        from bezel.speech import MOST_TOKENS, RECORDINGS, check_into, write_down

        check_into(into, self._native.translates_into)
        samples, ears = self._native.sound(source, sources, RECORDINGS)

        def ask(piece: Any, question: str) -> Result:
            parts = [{"type": "audio", "audio": piece}, {"type": "text", "text": question}]
            asked = {"temperature": 0.0, "max_tokens": MOST_TOKENS, **options}
            return self.chat([{"role": "user", "content": parts}], **asked)

        return write_down(ask, samples, ears.rate, language, into, ears.seconds, listen)

    def logits(self, token_ids: Sequence[int]) -> F32:
        """Logits after every token: float32 [T, vocabulary]."""
        return loop.all_logits(self._native.model, loop.as_ids(token_ids))

    def next_logits(
        self, token_ids: Sequence[int] | None = None, messages: Messages | None = None, **options: Any
    ) -> F32:
        """Logits of what comes behind token ids, or of the first token of an answer to messages: float32 [vocabulary].

        One of the two is given. `options`: see `request`.
        """
        if (token_ids is None) == (messages is None):
            raise InvalidRequestError("give either token_ids or messages")
        if token_ids is not None:
            return loop.next_logits(self._native.model, loop.as_ids(token_ids))
        return self._native.next_logits(self.request(messages=messages, **options))

    def logprobs(self, token_ids: Sequence[int]) -> F32:
        """Log-probability of tokens 1 ... T-1, each given those before it: float32 [T - 1]."""
        return loop.token_logprobs(self._native.model, loop.as_ids(token_ids))

    def perplexity(self, text: str | Sequence[int]) -> float:
        """exp(-mean log-probability per token) of a text, or of token ids."""
        ids = self._native.prompt_ids(Request(prompt=text)) if isinstance(text, str) else loop.as_ids(text)
        return loop.perplexity(self._native.model, ids)

    def bench(self, prompt_tokens: int = 512, new_tokens: int = 128, depth: int = 0, profile: bool = False) -> Bench:
        """Time one run: see `backends.bench.bench`."""
        return bench(self._native.model, prompt_tokens, new_tokens, depth, profile)

    def prompt_ids(self, messages: Messages, tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """The token ids that an answer to a conversation starts from."""
        return self._backend.prompt_ids(self.request(messages, tools=tools))

    def release_towers(self) -> None:
        """Give back the memory of the towers; the next image or sound reads them again."""
        self._native.release_towers()

    def statistics(self) -> Statistics:
        """What the engine is at (running, waiting), and what it has done since the model was loaded."""
        return self._native.statistics()

    def memory(self) -> MemoryUse:
        """Bytes of memory that this process holds now (`resident`), and the most it has held (`peak`)."""
        return memory_use()

    def describe(self) -> Mapping[str, Any]:
        """Name, engine, context, cache type, instruction set, threads, and what was chosen to fit."""
        return self._backend.describe()


def _told(events: Iterable[Event], listen: Callable[[Any], object] | None) -> Iterator[Event]:
    for event in events:
        if listen is not None:
            listen(event)
        yield event


def _stops(stop: Any) -> tuple[str, ...]:
    if stop is None or isinstance(stop, str):
        return () if stop is None else (stop,)
    found = tuple(stop) if isinstance(stop, Iterable) else (None,)
    if not all(isinstance(one, str) for one in found):
        raise InvalidRequestError(f"stop is {stop!r}; send a text or a list of texts")
    return found


def _result(request: Request, events: Iterable[Event], schema: Any, held: bool) -> Result:
    """The whole of an answer. `held`: the engine held it to the request's constraint while it was written."""
    events = list(events)
    text, tokens, finish = collect(events)
    calls = any(isinstance(event, CallFinished | CallBroken) for event in events)
    document = finish.reason == "stop" and not calls
    return Result(
        text=text,
        finish_reason=finish.reason,
        usage=finish.usage,
        token_ids=tuple(token.token_id for token in tokens),
        logprobs=tuple(tokens) if request.logprobs is not None else (),
        calls=tuple(event.call for event in events if isinstance(event, CallFinished)),
        broken=tuple(event for event in events if isinstance(event, CallBroken)),
        memory=memory_use(),
        parsed=_document(request, text, schema, held) if document else None,
    )


def _document(request: Request, text: str, schema: Any, held: bool) -> Any:
    """The object that an answer spells. Where there are stop strings, one may have cut it: None then."""
    grammar = request.constraint
    try:
        if grammar is not None and grammar.kind == "schema" and not held:
            check_document(text, grammar, schema)
        return None if schema is None else parsed(text, schema)
    except ConstraintFailedError:
        if request.stop:
            return None
        raise
