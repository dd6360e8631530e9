"""Our own engine behind the backend contract: loads a checkpoint and answers requests, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache as cache_of
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from bezel.backends.answer import Answer
from bezel.backends.answering import Answering
from bezel.backends.choice import check_choice, constraint_of
from bezel.backends.draft import drafter_of, load_draft
from bezel.backends.fit import PROFILES, Size, Wanted, choose
from bezel.backends.interface import Delta, Event, Finish, Request, TokenLogprob
from bezel.backends.loading import prompt_of, read_tokenizer, text_of
from bezel.engine.driver import Driver, Stream, received
from bezel.engine.engine import Engine
from bezel.engine.request import Progress
from bezel.engine.request import Request as EngineRequest
from bezel.engine.scheduler import Statistics
from bezel.errors import InvalidRequestError, UnsupportedInputError
from bezel.generation.loop import answer_budget, next_logits
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.kernels.interface import CACHE_FORMATS, F32, Format
from bezel.kernels.library import Native
from bezel.models.interface import SoftSpan, TextModel
from bezel.models.registry import build
from bezel.text.dialects.paligemma import PrefixTemplate
from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from bezel.weights.audio import audio_of
from bezel.weights.checkpoint import LEVELS, WHOLE_FORMATS, Checkpoint, CheckpointWeights, open_checkpoint
from bezel.weights.companions import chat_template, recommended_sampling
from bezel.weights.hub import fetch, parse_reference
from bezel.weights.memory import tower_bytes
from bezel.weights.projectors import towers_in
from bezel.weights.vision import vision_of

if TYPE_CHECKING:
    from bezel.backends.hearing import Hearing
    from bezel.backends.senses import Senses
    from bezel.generation.constraints.compiling import Compiler
    from bezel.media.fetching import Sources
    from bezel.media.limits import Limits
    from bezel.media.spectrograms import Sound

CACHE_TYPES = {format.name.lower(): format for format in CACHE_FORMATS}
"""What keys and values can be kept in: f16, q8_0, f32."""
GEMMA_SAMPLING = Sampling(temperature=1.0, top_k=64, top_p=0.95)
GREEDY = Sampling(temperature=0.0)


class NativeBackend:
    """A model on the CPU engine. Up to `sequences` requests are answered at once, more wait their turn."""

    translates_into: Sequence[str] | None = None
    """Codes of the languages that it can be asked to translate speech into; None for any."""

    def __init__(
        self,
        name: str,
        model: TextModel,
        tokenizer: Tokenizer,
        template: ChatTemplate | PrefixTemplate | None = None,
        sampling: Sampling = GEMMA_SAMPLING,
        kernels: Native | None = None,
        sequences: int = 8,
        draft: TextModel | None = None,
        why: str | None = None,
        senses: Senses | None = None,
        architecture: str | None = None,
    ) -> None:
        self.why = why
        """What was chosen to fit a budget or a profile; None where all was asked for."""
        self.architecture = architecture
        """The checkpoint's `model_type`; None where the model came from none."""
        self.name, self.model, self.tokenizer, self.sampling = name, model, tokenizer, sampling
        self.template = template or ChatTemplate(tokenizer)
        self._kernels, self._draft, self._senses = kernels, draft, senses
        self._sequences = sequences
        self._starting = threading.Lock()

    @classmethod
    def load(
        cls,
        name: str,
        level: str | None = None,
        context: int | None = None,
        threads: int | None = None,
        sequences: int = 8,
        draft: str | None = None,
        cache: str = "f16",
        size: Size | None = None,
        fit: int | None = None,
        profile: str | None = None,
        mmproj: str | None = None,
        keep_towers: bool | None = None,
    ) -> Self:
        """Load `name`: "tiny", a path, or a hub name (downloaded where it is not cached).

        `level` None keeps the stored precision, else "maximum_efficiency", "balanced" or "performance"; `context`
        None holds 8,192 tokens or the model's most; `draft` names a smaller model that drafts for this one; `cache` is
        one of CACHE_TYPES; `size` cuts Gemma 3n (`weights.slice`); `fit` (bytes) and `profile` choose what is left open
        (`backends.fit`); `mmproj` names the GGUF file of the towers (default: of Gemma 3's that beside the model's);
        `keep_towers`: see `Tower`; None keeps them, but for a profile, and for Gemma 3n's with `fit`. Raises what
        `fetch`, `open_checkpoint`, `choose`, `load_draft` and the models raise.
        """
        if level is not None and level not in LEVELS:
            raise InvalidRequestError(f"unknown level {level!r}; choose one of {', '.join(LEVELS)}")
        if sequences < 1:
            raise InvalidRequestError(f"sequences is {sequences}; at least one request must be answered at once")
        if draft == "":
            raise InvalidRequestError("draft is empty; name a smaller model, or leave it out")
        if cache not in CACHE_TYPES:
            raise InvalidRequestError(f"unknown cache type {cache!r}; choose one of {', '.join(CACHE_TYPES)}")
        kernels = Native(threads)
        checkpoint = open_checkpoint(fetch(parse_reference(name)))
        try:
            views = cache_of(partial(_views, checkpoint, mmproj))
            in_turn = str(checkpoint.config.get("model_type")).startswith("gemma3n")
            kept = profile is None and not (fit and in_turn) if keep_towers is None else keep_towers
            towers = partial(_tower_bytes, checkpoint, views if kept or not in_turn else list)
            chosen = choose(checkpoint, Wanted(size, level, context, CACHE_TYPES[cache], fit, profile, towers))
            checkpoint = chosen.view
            weights = CheckpointWeights(checkpoint, kernels, LEVELS[chosen.level] if chosen.level else None)
            with checkpoint.named_in_errors():
                model = build(checkpoint.config, weights, chosen.context)
            model.cache_spec = replace(model.cache_spec, format=CACHE_TYPES[cache])
            tokenizer = read_tokenizer(checkpoint, model.vocabulary)
            senses = _senses(checkpoint, views(), weights, model, kept)
            media = list(senses.towers) if senses else []
            architecture = checkpoint.config["model_type"]
            prefixed = architecture == "paligemma"
            template: ChatTemplate | PrefixTemplate = (
                PrefixTemplate(tokenizer) if prefixed else ChatTemplate(tokenizer, chat_template(checkpoint), media)
            )
            return cls(
                name,
                model,
                tokenizer,
                template,
                sampling_with(GREEDY if prefixed else GEMMA_SAMPLING, recommended_sampling(checkpoint)),
                kernels,
                PROFILES[profile].sequences if profile else sequences,
                load_draft(draft, tokenizer, model.context, kernels) if draft is not None else None,
                chosen.why,
                senses,
                architecture,
            )
        finally:
            checkpoint.close()

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids that a request starts with. Raises as `_prompt`."""
        return self._prompt(request)[0]

    def next_logits(self, request: Request) -> F32:
        """Logits of the first token of an answer, float32 [vocabulary]. Raises as `_prompt`."""
        ids, spans = self._prompt(request)
        return next_logits(self.model, ids, spans)

    def release_towers(self) -> None:
        """Give back the memory of the towers; the next image or sound reads them again."""
        if self._senses:
            self._senses.release()

    @property
    def ears(self) -> Hearing | None:
        """What hears; None where the model does not."""
        return self._senses.hearing if self._senses else None

    def sound(self, source: Any, sources: Sources, limits: Limits | None = None) -> tuple[Sound, Hearing]:
        """The samples of a recording as long as `limits` allow, at the rate of the ears that come with it.

        Raises UnsupportedInputError where the model does not hear, and what `opened_sound` raises.
        """
        if self.ears is None:
            raise UnsupportedInputError(f"{self.name} does not hear; load a Gemma 3n, such as google/gemma-3n-E2B-it")
        from bezel.backends.sources import opened_sound

        return opened_sound(source, sources, self.ears.rate, limits), self.ears

    def _prompt(self, request: Request, prepared: bool = False) -> tuple[list[int], list[SoftSpan]]:
        """Token ids, and the spans of them that are images or sounds; `prepared`: with the towers that they need read.

        Raises InvalidRequestError unless there is one prompt, MediaError for files that cannot be read.
        """
        if self._senses is None:
            return prompt_of(request, self.template, self.tokenizer), []
        looked = self._senses.looked(request)
        prompt, spans = self._senses.lay_out(looked, self.template, self.tokenizer)
        if prepared and spans:
            answer_budget(self.model, prompt, request.max_tokens)  # before a tower looks at what is too long
            self._senses.prepare(looked)
        return prompt, spans

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Backend.text_of`."""
        return text_of(token_ids, self.tokenizer, self.model.vocabulary)

    def stream(self, request: Request) -> Answering:
        """See `Backend.stream`. The request is queued when its first event is asked for."""
        return Answering(lambda: (self._answer(request), self._submit(request)))

    def answers(self, requests: Sequence[Request]) -> list[list[Event]]:
        """All events of several requests that run together, request by request."""
        queue: SimpleQueue[Progress] = SimpleQueue()
        answers = [self._answer(request) for request in requests]
        events: list[list[Event]] = [[] for _ in requests]
        streams: list[Stream] = []
        places: dict[int, int] = {}
        try:
            for place, request in enumerate(requests):
                streams.append(self._submit(request, queue))
                places[streams[-1].request.id] = place
            while places:
                progress = received(queue)
                place = places.get(progress.request.id, -1)
                if place < 0:
                    continue  # a step that was under way when a stop string ended the answer
                events[place] += answers[place].take(progress)
                if answers[place].ended:
                    streams[place].cancel()
                    del places[progress.request.id]
        finally:
            for stream in streams:
                stream.cancel()
        return events

    def statistics(self) -> Statistics:
        """What the engine is at, and what it has done since it was loaded."""
        return self._driver.engine.statistics

    @cached_property
    def _compiler(self) -> Compiler:
        from bezel.generation.constraints.compiling import Compiler
        from bezel.generation.constraints.vocabulary import Vocabulary

        return Compiler(Vocabulary(self.tokenizer, self.model.vocabulary))

    @cached_property
    def _driver(self) -> Driver:
        longest = self._senses.longest if self._senses else 0
        longest = self.model.context if isinstance(self.template, PrefixTemplate) else longest
        return Driver(Engine(self.model, self._sequences, span=longest))

    def _answer(self, request: Request) -> Answer:
        check_choice(request)
        reader = self.template.dialect.reader(request.offered) if request.offered else None
        return Answer(self.tokenizer, request.stop, reader, not request.parallel_tool_calls)

    def _submit(self, request: Request, queue: SimpleQueue[Progress] | None = None) -> Stream:
        constrained = request.constraint is not None or bool(request.offered)
        drafter = drafter_of(request.speculation, self._draft, self.model.vocabulary)
        prompt, spans = self._prompt(request, prepared=True)
        asked = EngineRequest(
            prompt,
            request.sampling,
            request.max_tokens,
            self.tokenizer.stop_ids,
            request.logprobs or 0,
            speculation=Speculation(drafter) if drafter else None,
            constraint=constraint_of(request, self.template.dialect, self._compiler) if constrained else None,
            spans=spans,
        )
        with self._starting:
            driver = self._driver
        return driver.submit(asked, queue)

    def health(self) -> Mapping[str, Any]:
        """Healthy when one token can be produced, among whatever else is: {"status": "healthy"}."""
        list(self.stream(Request(prompt=[self.tokenizer.bos_id or 0], sampling=GREEDY, max_tokens=1)))
        return {"status": "healthy"}

    def describe(self) -> Mapping[str, Any]:
        """Name, engine and sizes."""
        kernels = {"isa": self._kernels.isa, "threads": self._kernels.threads} if self._kernels else {}
        cache = self.model.cache_spec.format.name.lower()
        chosen = {"chosen": self.why} if self.why else {}
        chosen |= {"architecture": self.architecture} if self.architecture else {}
        sizes = {"model": self.name, "engine": "native", "context": self.model.context, "cache": cache}
        towers = self._senses.towers if self._senses else {}
        return sizes | {"images": "image" in towers, "sounds": "audio" in towers} | kernels | chosen


def _views(checkpoint: Checkpoint, mmproj: str | None) -> list[Checkpoint | None]:
    """The towers for images and for sounds, as far as there are such."""
    beside = fetch(parse_reference(mmproj)) if mmproj is not None else None
    there = towers_in(beside) if beside is not None else {"image", "audio"}
    return [
        vision_of(checkpoint, beside) if "image" in there else None,
        audio_of(checkpoint, beside) if "audio" in there else None,
    ]


def _level_of_towers(checkpoint: Checkpoint, level: Format | None) -> Format | None:
    """What is asked of towers: 8 bits beside a text model that is rounded already."""
    rounded = checkpoint.info("layers.0.mlp.down_proj.weight").format not in WHOLE_FORMATS
    return Format.Q8_0 if level is None and rounded else level


def _tower_bytes(checkpoint: Checkpoint, views: Callable[[], Sequence[Checkpoint | None]], level: str | None) -> int:
    asked = _level_of_towers(checkpoint, LEVELS[level] if level else None)
    return sum(tower_bytes(view, asked) for view in views() if view)


def _senses(
    checkpoint: Checkpoint,
    views: Sequence[Checkpoint | None],
    weights: CheckpointWeights,
    model: TextModel,
    kept: bool,
) -> Senses | None:
    """What a model sees and hears with; None where it has no tower."""
    if not any(views):
        return None
    from bezel.backends.senses import Senses

    level = _level_of_towers(checkpoint, weights.level)
    return Senses.opened(*views, weights.kernels, level, model.config.hidden_size, kept)


def collect(events: Iterable[Event]) -> tuple[str, list[TokenLogprob], Finish]:
    """The whole text, its tokens and the finish of a stream; calls are left out."""
    texts: list[str] = []
    tokens: list[TokenLogprob] = []
    for event in events:
        if isinstance(event, Finish):
            return "".join(texts), tokens, event
        if isinstance(event, Delta):
            texts.append(event.text)
            tokens += event.tokens
    raise RuntimeError("the backend's stream ended without a Finish")


def sampling_with(base: Sampling, changes: Mapping[str, Any]) -> Sampling:
    """`base` with the named fields changed; InvalidRequestError for a name that is no sampling parameter."""
    unknown = set(changes) - set(Sampling.__dataclass_fields__)
    if unknown:
        raise InvalidRequestError(
            f"unknown parameter {sorted(unknown)[0]!r}; choose from {', '.join(Sampling.__dataclass_fields__)}"
        )
    return replace(base, **changes)
