"""A conversation in the terminal, line by line, over a model that only remembers what it was asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.backends.interface import Delta, Event, Result, Usage
from bezel.cli.chat import Conversation
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, StorageError


class Interrupted:
    """A model whose second answer is broken off by Ctrl-C after one piece."""

    def __init__(self) -> None:
        self.asked: list[list[dict[str, Any]]] = []

    def request(self, messages: list[dict[str, Any]], **_: object) -> list[dict[str, Any]]:
        return list(messages)

    def answer(self, request: list[dict[str, Any]], listen: Callable[[Event], object]) -> Result:
        self.asked.append(request)
        listen(Delta("well"))
        if len(self.asked) == 2:
            raise KeyboardInterrupt
        return Result("well", "stop", Usage(1, 1, 0.1, 0.1))


def test_an_interrupt_stops_the_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    model = Interrupted()
    conversation = Conversation(model, "be kind", {})  # type: ignore[arg-type]
    for line in ("one", "two", "three"):
        conversation.take(line)
    assert "(stopped)" in capsys.readouterr().out
    assert [m["content"] for m in model.asked[-1]] == ["be kind", "one", "well", "two", "well", "three"]
    conversation.take("/retry")
    assert [m["content"] for m in model.asked[-1]] == [m["content"] for m in model.asked[-2]]
    conversation.take("/clear")
    assert [m["role"] for m in conversation.messages] == ["system"]
    with pytest.raises(InvalidRequestError, match="no question"):
        conversation.take("/undo")


def test_what_is_attached_goes_with_the_next_question_alone(tmp_path: Path) -> None:
    image, sound, video = tmp_path / "cat.png", tmp_path / "meow.wav", tmp_path / "cat.mp4"
    for path in (image, sound, video):
        path.touch()
    model = Interrupted()
    conversation = Conversation(model, None, {})  # type: ignore[arg-type]
    conversation.take(f"/image {image}")
    conversation.take(f"/audio {sound}")
    conversation.take(f"/video {video}")
    conversation.take("what is this?")
    shown = [{"type": "image", "image": str(image)}, {"type": "audio", "audio": str(sound)}]
    shown.append({"type": "video", "video": str(video)})
    question = [*shown, {"type": "text", "text": "what is this?"}]
    assert model.asked[0] == [{"role": "user", "content": question}]
    conversation.take("and now?")
    assert [m["content"] for m in model.asked[1]] == [question, "well", "and now?"]
    conversation.take("/undo")
    conversation.take("/retry")
    assert [m["content"] for m in model.asked[2]] == [question]

    saved = tmp_path / "talk.json"
    conversation.take(f"/save {saved}")
    again = Conversation(model, None, {})  # type: ignore[arg-type]
    again.take(f"/load {saved}")
    assert again.messages == conversation.messages and again.messages[0]["content"] == question


def test_what_is_attached_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    model = Interrupted()
    conversation = Conversation(model, None, {})  # type: ignore[arg-type]
    conversation.take("one")
    for forget in ("/undo", "/clear"):
        conversation.take(f"/image {tmp_path / 'cat.png'}")
        conversation.take(forget)
        assert [m["role"] for m in conversation.messages] == (["user", "assistant"] if forget == "/undo" else [])
        conversation.take("two")
        assert model.asked[-1][-1]["content"] == "two"
    with pytest.raises(InvalidRequestError, match="is no file"):
        conversation.take(f"/image {tmp_path / 'dog.png'}")


class Failing(Interrupted):
    """A model that refuses what it is asked first, or as the `fails_at`th."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        self.fails_at = fails_at

    def answer(self, request: list[dict[str, Any]], listen: Callable[[Event], object]) -> Result:
        if len(self.asked) == self.fails_at:
            self.asked.append(request)
            raise InvalidRequestError("too long")
        return super().answer(request, listen)


def test_a_failed_answer_keeps_what_is_attached(tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    model = Failing()
    conversation = Conversation(model, None, {})  # type: ignore[arg-type]
    conversation.take(f"/image {tmp_path / 'cat.png'}")
    with pytest.raises(InvalidRequestError):
        conversation.take("long question")
    conversation.take("short")
    assert model.asked[-1][-1]["content"][0]["type"] == "image"


def test_a_file_that_is_no_conversation_is_named(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    file = tmp_path / "talk.json"
    for content, match in (("[]", "not a saved conversation"), (json.dumps({"messages": [{"role": "x"}]}), "role")):
        file.write_text(content)
        with pytest.raises(InvalidRequestError, match=match):
            conversation.take(f"/load {file}")


def test_a_saved_conversation_is_its_writers_alone_and_replaces_nothing_but_files(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    conversation.take("hello")
    saved, link, pipe = tmp_path / "saved.json", tmp_path / "link.json", tmp_path / "pipe"
    conversation.take(f"/save {saved}")
    assert saved.stat().st_mode & 0o077 == 0
    saved.chmod(0o644)
    link.symlink_to(saved)
    conversation.take("/clear")
    conversation.take(f"/save {link}")
    assert link.is_symlink() and json.loads(saved.read_text())["messages"] == []
    assert saved.stat().st_mode & 0o777 == 0o644
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(StorageError):
            conversation.take(f"/save {place}")
    assert pipe.is_fifo() and sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "saved.json"]


def test_a_failing_load_keeps_the_conversation(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), "be kind", {})  # type: ignore[arg-type]
    conversation.take("one")
    kept, file = list(conversation.messages), tmp_path / "talk.json"
    good = {"role": "user", "content": "other"}
    for content in ({"messages": 5}, {"messages": None}, {"messages": "hi"}, {"messages": [good, {"role": "x"}]}):
        file.write_text(json.dumps(content))
        with pytest.raises(InvalidRequestError):
            conversation.take(f"/load {file}")
        assert conversation.messages == kept
    file.write_text("[" * 100_000)
    with pytest.raises(InvalidRequestError, match="not a saved conversation"):
        conversation.take(f"/load {file}")
    file.write_text(json.dumps({"messages": [good]}))
    conversation.take(f"/load {file}")
    assert conversation.messages == [good]


def test_a_failing_retry_keeps_the_question_and_its_answer() -> None:
    conversation = Conversation(Failing(fails_at=1), "be kind", {})  # type: ignore[arg-type]
    conversation.take("one")
    kept = list(conversation.messages)
    with pytest.raises(InvalidRequestError, match="too long"):
        conversation.take("/retry")
    assert conversation.messages == kept and [m["role"] for m in kept] == ["system", "user", "assistant"]
    conversation.take("/retry")
    assert conversation.messages == kept


def talked(model: Any, *arguments: object, given: str) -> Any:
    """What `bezel chat ARGUMENTS` does with the lines `given`, over a model of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bezel.api.load", lambda *names, **options: model)
        return CliRunner().invoke(app, ["chat", *map(str, arguments)], input=given)


def said(file: Path) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in json.loads(file.read_text())["messages"]]


class Dying(Interrupted):
    """A model that is there for `answers` answers, and then fails in a way that nobody thought of."""

    def __init__(self, answers: int, watched: Path | None = None) -> None:
        super().__init__()
        self.answers, self.watched = answers, watched
        self.found: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {}

    def answer(self, request: list[dict[str, Any]], listen: Callable[[Event], object]) -> Result:
        self.found.append(len(said(self.watched)) if self.watched and self.watched.exists() else 0)
        if len(self.asked) == self.answers:
            raise RuntimeError("the machine is on fire")
        self.asked.append(request)
        listen(Delta("well"))
        return Result("well", "stop", Usage(1, 1, 0.1, 0.1))


def test_a_conversation_is_kept_after_each_answer_and_whatever_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    model = Dying(2, file)
    done = talked(model, "--session", file, given="one\ntwo\nthree\nfour\n")
    assert isinstance(done.exception, RuntimeError)
    assert model.found == [0, 2, 4], "each answer is on the disk before the next question is asked"
    assert said(file) == [("user", "one"), ("assistant", "well"), ("user", "two"), ("assistant", "well")]


def test_a_conversation_that_cannot_be_kept_is_not_begun(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "none" / "talk.json", tmp_path, tmp_path / "pipe"):
        model = Dying(1)
        done = talked(model, "--session", place, given="one\n")
        assert isinstance(done.exception, StorageError) and str(place) in str(done.exception) and not model.asked


@pytest.mark.parametrize("before", [[], [{"role": "developer", "content": "be kind"}]])
def test_a_system_message_that_is_given_takes_the_place_of_the_saved_one(before: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    old = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "well"}]
    file.write_text(json.dumps({"messages": [*before, *old]}))
    model = Dying(1)
    assert talked(model, "--session", file, "--system", "be brief", given="two\n").exit_code == 0
    assert [message["content"] for message in model.asked[0]] == ["be brief", "one", "well", "two"]
    model = Dying(1)
    assert talked(model, "--session", file, given="three\n").exit_code == 0
    assert model.asked[0][0] == {"role": "system", "content": "be brief"}, "and stays where none is given"


def test_nothing_is_forgotten_where_nothing_was_asked(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    kept = [{"role": "system", "content": "be kind"}, {"role": "assistant", "content": "Hello!"}]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": kept}))
    conversation.take(f"/load {tmp_path / 'talk.json'}")
    for command in ("/undo", "/retry"):
        with pytest.raises(InvalidRequestError, match="no question to forget"):
            conversation.take(command)
        assert conversation.messages == kept


def test_every_saved_message_has_a_role(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    file, parts = tmp_path / "talk.json", [{"type": "image", "image": "cat.png"}]
    for wrong in (
        {"content": "hi"},
        {"content": parts},
        {"role": "cat", "content": parts},
        {"role": [], "content": parts},
    ):
        file.write_text(json.dumps({"messages": [{"role": "user", "content": "hello"}, wrong]}))
        with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.role"):
            conversation.take(f"/load {file}")
    file.write_text(json.dumps({"messages": [{"role": "user", "content": parts}, {"role": "model", "content": "ah"}]}))
    conversation.take(f"/load {file}")
    assert conversation.messages == [{"role": "user", "content": parts}, {"role": "assistant", "content": "ah"}]
    file.write_text('{"messages": []}')
    conversation.take(f"/load {file}")
    assert conversation.messages == []


def test_results_of_calls_are_loaded_with_the_names_of_their_calls(tmp_path: Path) -> None:
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {}}}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    messages.append({"role": "tool", "content": "a cat", "tool_call_id": "1"})
    (tmp_path / "talk.json").write_text(json.dumps({"messages": messages}))
    conversation.take(f"/load {tmp_path / 'talk.json'}")
    assert conversation.messages[2]["name"] == "look"


def test_a_file_of_any_name_can_be_shown_and_kept(tmp_path: Path) -> None:
    picture, saved = tmp_path / os.fsdecode(b"f\xff.png"), tmp_path / "talk.json"
    picture.touch()
    conversation = Conversation(Interrupted(), None, {})  # type: ignore[arg-type]
    conversation.take(f"/image {picture}")
    conversation.take("what is this?")
    kept = list(conversation.messages)
    conversation.take(f"/save {saved}")
    conversation.take(f"/load {saved}")
    assert conversation.messages == kept and kept[0]["content"][0]["image"] == str(picture)
