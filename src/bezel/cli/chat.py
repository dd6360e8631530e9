"""`bezel chat`: a conversation in the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Option
from bezel.cli.media import KINDS, located, of_videos, showing
from bezel.cli.piped import at_terminal
from bezel.errors import BezelError, InvalidRequestError, StorageError

if TYPE_CHECKING:
    from bezel.api import Model
    from bezel.backends.interface import Event, Usage
    from bezel.cli.tools import Offered
    from bezel.tools import ToolRun

HELP = """\
/help            this text
/image FILE      show an image with the next question
/audio FILE      play a sound with the next question
/video FILE      show a video with the next question, its sound included unless --mute was given
/system TEXT     set the system message and begin anew
/clear           begin anew
/undo            forget what is attached, or else the last question and its answer
/retry           answer the last question again
/save FILE       save the conversation
/load FILE       go on with a saved conversation
/stats           speed of the last answer
/memory          what this process holds, and the most it has held
/quit            leave (also Ctrl-D)
End a line with \\ to go on in the next one. Ctrl-C stops an answer."""


def chat(
    model: options.Model = "tiny",
    backend: options.Backend = "native",
    base_url: options.BaseUrl = None,
    device: options.Device = None,
    session: Annotated[Path | None, Option(help="Conversation file to go on with and save to.")] = None,
    system: options.System = None,
    mmproj: options.Mmproj = None,
    level: options.Level = None,
    context: options.Context = None,
    threads: options.Threads = None,
    draft: options.Draft = None,
    speculation: options.Speculation = "auto",
    cache_type: options.CacheType = "f16",
    size: options.Size = None,
    fit: options.Fit = None,
    profile: options.Profile = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    fps: options.Fps = None,
    mute: options.Mute = False,
    culture: options.Culture = None,
    style: options.Style = None,
    tools: options.Tools = None,
    mcp: options.Mcp = None,
    max_rounds: options.MaxRounds = 8,
) -> None:
    """Talk with a model. /help lists the commands."""
    from bezel.api import load
    from bezel.cli.tools import offered
    from bezel.prompts import instructions

    sampling = options.given(
        temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, max_tokens=max_tokens, speculation=speculation
    )
    told = instructions(options.cultures(culture), style, system)
    if session is not None:
        session = writable(located(session))  # before anything is said that would be lost
    with offered(tools or [], mcp or []) as found:
        chosen = options.given(size=size, fit=fit, profile=profile, mmproj=mmproj, backend=backend)
        chosen |= options.given(base_url=base_url, device=device)
        loaded = load(model, level, context, threads, sequences=1, draft=draft, cache=cache_type, **chosen)
        options.explain(loaded)
        conversation = Conversation(loaded, told or None, sampling, found, max_rounds, of_videos(fps, mute))
        if session is not None and session.exists():
            conversation.load(session)
            conversation.instruct(told)
        _talk(conversation, model, session)


def _talk(conversation: Conversation, model: str, session: Path | None) -> None:
    """Ask and answer until nothing comes any more. The conversation is kept after each line, in case it ends there."""
    try:
        for line in _lines(model):
            try:
                conversation.take(line)
                if session is not None:
                    conversation.save(session)
            except BezelError as error:
                print(f"bezel: {error}", file=sys.stderr)
    finally:
        if session is not None:
            conversation.save(session)


def _lines(model: str) -> Iterator[str]:
    """What is typed or piped in, until its end or /quit."""
    ask = _prompt()
    if at_terminal():
        print(f"{model}. /help lists the commands.")
    while True:
        try:
            line = ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            print("(/quit or Ctrl-D leaves)")
            continue
        if line.strip() in ("/quit", "/exit", "/bye"):
            return
        yield line


class Conversation:
    """Messages so far, and what a typed line does to them. `videos`: how they are shown, of `of_videos`."""

    def __init__(
        self,
        model: Model,
        system: str | None,
        sampling: dict[str, Any],
        offered: Offered | None = None,
        max_rounds: int = 8,
        videos: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._sampling = model, sampling
        self._offered, self._max_rounds, self._videos = offered, max_rounds, videos
        self._stats = "nothing answered yet"
        self._attached: dict[str, list[Path]] = {}
        self.messages: list[dict[str, Any]] = []
        self._begin(system)

    def _begin(self, system: str | None) -> None:
        self._attached = _nothing()
        self.messages = [{"role": "system", "content": system}] if system else []

    def instruct(self, system: str) -> None:
        """Put a system message in the place of the one there is; an empty one changes nothing."""
        if system:
            told = len(self.messages) > 0 and self.messages[0]["role"] == "system"
            self.messages[:told] = [{"role": "system", "content": system}]

    def take(self, line: str) -> None:
        """Answer a question or obey a /command. Raises InvalidRequestError for a command that is none."""
        if not line.strip():
            return
        if not line.startswith("/"):
            self._answer(showing(line, self._attached, self._videos))
            self._attached = _nothing()
            return
        command, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        if command == "help":
            print(HELP)
        elif command == "stats":
            print(self._stats)
        elif command == "memory":
            use = self._model.memory()
            print(f"{options.gigabytes(use.resident)} now, {options.gigabytes(use.peak)} at most")
        elif command == "clear":
            self._begin(self._system())
        elif command == "system":
            self._begin(rest or None)
        elif command in self._attached:
            self._attach(command, located(Path(rest)))
        elif command in ("undo", "retry"):
            if command == "undo" and any(self._attached.values()):
                self._attached = _nothing()
                return
            before = list(self.messages)
            question = self._forget()
            if command == "retry":
                try:
                    self._answer(question)
                except BezelError:
                    self.messages = before
                    raise
        elif command in ("save", "load"):
            if not rest:
                raise InvalidRequestError(f"name a file: /{command} FILE")
            (self.save if command == "save" else self.load)(located(Path(rest)))
        else:
            raise InvalidRequestError(f"/{command} is no command; /help lists them")

    def _system(self) -> str | None:
        return next((str(m["content"]) for m in self.messages if m["role"] == "system"), None)

    def _attach(self, kind: str, path: Path) -> None:
        if not path.is_file():
            raise InvalidRequestError(f"{path}: is no file; name one: /{kind} FILE")
        self._attached[kind].append(path)
        print(f"{path.name} goes with your next question")

    def _forget(self) -> Any:
        asked = [index for index, message in enumerate(self.messages) if message["role"] == "user"]
        if not asked:
            raise InvalidRequestError("there is no question to forget")
        question = self.messages[asked[-1]]["content"]
        del self.messages[asked[-1] :]
        return question

    def _answer(self, question: str | list[dict[str, Any]]) -> None:
        from bezel.backends.interface import Delta
        from bezel.cli.tools import show

        before = list(self.messages)
        self.messages.append({"role": "user", "content": question})
        pieces: list[str] = []
        shown = show(lambda text: print(text, end="", flush=True))

        def listen(event: Event | ToolRun) -> None:
            if isinstance(event, Delta):
                pieces.append(event.text)
            shown(event)

        try:
            usage = self._reply(listen)
        except KeyboardInterrupt:
            self.messages.append({"role": "assistant", "content": "".join(pieces)})
            print(" (stopped)")
            return
        except BaseException:
            self.messages = before  # a question without an answer is none that can be gone on from
            raise
        self._stats = (
            f"{usage.prompt_tokens} tokens read ({usage.prefill_tokens_per_second:.0f}/s), "
            f"{usage.completion_tokens} written ({usage.decode_tokens_per_second:.0f}/s), "
            f"{usage.accepted_tokens} of {usage.draft_tokens} drafted tokens accepted"
        )
        print()

    def _reply(self, listen: Callable[[Event | ToolRun], None]) -> Usage:
        """Answer the messages, add what was said and done, and return what the last answer took."""
        if self._offered is not None and self._offered.tools:
            done = self._model.run_tools(
                self.messages, self._offered.tools, self._max_rounds, listen=listen, **self._sampling
            )
            self.messages = [dict(message) for message in done.messages]
            if not done.finished:
                print(f"bezel: no answer in words after {self._max_rounds} rounds of calls", file=sys.stderr)
                self.messages.append({"role": "assistant", "content": ""})
            return done.result.usage
        schemas = self._offered.schemas if self._offered is not None else ()
        result = self._model.answer(self._model.request(self.messages, tools=schemas, **self._sampling), listen)
        calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in result.calls]
        self.messages.append({"role": "assistant", "content": result.text} | ({"tool_calls": calls} if calls else {}))
        return result.usage

    def save(self, path: Path) -> None:
        """Write the conversation as JSON, for its writer alone where the file is new. Raises StorageError.

        The old file stays until the new one is whole, behind a link too.
        """
        from bezel.weights.storage import file_when_whole

        text = json.dumps({"messages": self.messages}, ensure_ascii=False, indent=1)
        try:
            content = text.encode()
        except UnicodeEncodeError:  # a file's name may be any bytes
            content = json.dumps({"messages": self.messages}, indent=1).encode()
        path = writable(path)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        with file_when_whole(path, len(content), mode) as write:
            write(content)

    def load(self, path: Path) -> None:
        """Take up a saved conversation. Raises InvalidRequestError for a file that is none; the old one then stays."""
        from bezel.text.messages import normalise, parts_of

        try:
            content = json.loads(path.read_text("utf-8-sig"))
            messages = content["messages"]
            if not isinstance(messages, list):
                raise TypeError("messages is no list")
        except OSError as error:
            raise InvalidRequestError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidRequestError(f"{path}: is not a saved conversation ({error})") from None
        # What is shown is checked when it is asked, by a model that sees or hears.
        shown = [list(parts_of(message)) for message in messages]
        bare = [message | {"content": ""} if parts else message for message, parts in zip(messages, shown, strict=True)]
        found = normalise(bare) if bare else []
        self.messages = [
            message | {"content": parts} if parts else message for message, parts in zip(found, shown, strict=True)
        ]


def writable(path: Path) -> Path:
    """The file that a path leads to, behind links. Raises StorageError where a conversation cannot be kept there."""
    path = Path(os.path.realpath(path))
    if not os.path.isdir(path.parent):
        raise StorageError(f"{path}: cannot be written; create the folder {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(f"{path}: cannot be written; choose a folder that you can write")
    if os.path.exists(path) and not os.path.isfile(path):
        raise StorageError(f"{path}: is no file; name another one for the conversation")
    return path


def _nothing() -> dict[str, list[Path]]:
    return {kind: [] for kind in KINDS}


def _prompt() -> Any:
    """A function that reads one input, which may span lines: with editing and history on a terminal."""
    if not at_terminal():
        return lambda: _joined(lambda _: sys.stdin.readline() if sys.stdin is not None else "")
    from prompt_toolkit import PromptSession

    editor: PromptSession[str] = PromptSession()
    return lambda: _joined(lambda first: editor.prompt("> " if first else "... ") + "\n")


def _joined(read: Any) -> str:
    lines: list[str] = []
    while True:
        line = read(not lines)
        if not line:
            raise EOFError
        lines.append(line.rstrip("\n"))
        if not lines[-1].endswith("\\"):
            return "\n".join(lines)
        lines[-1] = lines[-1][:-1]
