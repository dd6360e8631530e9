"""The verbs as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bezel.backends.interface import Result, Usage
from bezel.catalog.memory import parse_memory
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, KernelLibraryError
from bezel.kernels.library import Native
from bezel.testing import GEMMA3N, write_checkpoint

try:
    Native()
    BUILT = True
except KernelLibraryError:
    BUILT = False
ENGINE = pytest.mark.skipif(not BUILT and not os.environ.get("CI"), reason="the compiled kernels are not built")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def bezel(*arguments: object, given: str = "", status: int = 0) -> str:
    """What `bezel ARGUMENTS` prints: standard output, or standard error where it must fail."""
    done = subprocess.run(
        [sys.executable, "-m", "bezel.cli", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if status else done.stdout


def test_help_and_list_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['bezel', 'list']; from bezel.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'tokenizers', 'jinja2', 'huggingface_hub', 'torch', 'prompt_toolkit'}\n"
        "heavy |= {'llguidance', 'jsonschema_rs'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "set()"
    assert "gemma-3n-E2B-it" in done.stdout


def test_the_family_is_listed_shown_and_advised() -> None:
    assert len(bezel("list").splitlines()) > 60
    assert {row["id"] for row in json.loads(bezel("list", "3n", "--json"))} == {
        "google/gemma-3n-E2B-it",
        "google/gemma-3n-E4B-it",
    }
    assert "32768 tokens" in bezel("show", "gemma-3-1b-it")
    assert bezel("advise", "--memory", "3.2GB", "--need", "audio").startswith("-> google/gemma-3n-E4B-it at Q4_0")
    assert json.loads(bezel("advise", "--memory", "100GB", "--json"))["fits"][0]["id"] == "google/gemma-3-27b-it"
    assert (
        "Nothing for audio fits"
        in subprocess.run(
            [sys.executable, "-m", "bezel.cli", "advise", "--memory", "512MB", "--need", "audio"],
            capture_output=True,
            text=True,
        ).stdout
    )
    assert "gemma-1.1-7b-it" in bezel("show", "gemma-1.5-7b-it", status=1)
    assert "choose one of" in bezel("advise", "--need", "smell", status=1)


@pytest.mark.parametrize(("text", "size"), [("3GB", 3 << 30), ("512 MB", 512 << 20), ("1.5g", 3 << 29), ("100", 100)])
def test_memory_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "3 apples"])
def test_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="3GB"):
        parse_memory(text)


@ENGINE
def test_run_answers_from_arguments_pipes_and_files(folder: Path, tmp_path: Path) -> None:
    options = ("-m", folder, "-n", 8, "-t", 0)
    plain = bezel("run", *options, "hello")
    answer = json.loads(bezel("run", *options, "--json", "hello"))
    assert answer["text"] + "\n" == plain
    assert answer["usage"]["completion_tokens"] == 8 and answer["finish_reason"] == "length"
    (tmp_path / "notes.txt").write_text("notes")
    longer = json.loads(bezel("run", *options, "--json", "-f", tmp_path / "notes.txt", "hello", given="piped"))
    extra = len("File notes.txt:\nnotes\n\npiped\n\n")
    assert longer["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"] + extra
    assert json.loads(bezel("run", *options, "--json", given="hello"))["text"] == answer["text"]


@ENGINE
def test_run_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    assert "standard input is empty" in bezel("run", "-m", folder, status=1)
    assert "neither a file" in bezel("run", "-m", "nothing", "x", status=1)
    assert "temperature" in bezel("run", "-m", folder, "-t", -3, "x", status=1)
    (tmp_path / "tools.json").write_text("{}")
    assert "must be a list" in bezel("run", "-m", folder, "--tools", tmp_path / "tools.json", "x", status=1)
    assert "cannot be read" in bezel("run", "-m", folder, "-f", tmp_path / "none.txt", "x", status=1)


@ENGINE
@pytest.mark.parametrize(
    ("verb", "status", "said"),
    [
        ("run", 1, "standard input is empty"),
        ("check", 1, "standard input is empty"),
        ("chat", 0, ""),
        ("run hi", 0, ""),
    ],
)
def test_a_closed_standard_input_is_an_empty_one(folder: Path, verb: str, status: int, said: str) -> None:
    line = f'exec "$0" -m bezel.cli {verb} -m "$1" <&-'
    done = subprocess.run(["sh", "-c", line, sys.executable, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "said"), [('"$0" -m bezel.cli list | head -1', ""), ('"$0" -m bezel.cli list >/dev/full', "no space left")]
)
def test_output_that_nobody_takes_is_no_traceback(line: str, said: str) -> None:
    if said and not Path("/dev/full").is_char_device():
        pytest.skip("this system has no device that is always full")
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True, timeout=120)
    assert len(done.stderr.splitlines()) == (1 if said else 0), done.stderr
    assert said in done.stderr


def test_a_pipe_that_is_no_text_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bezel.cli", "run"], input=b"a\xff\n", capture_output=True, timeout=120
    )
    assert done.returncode == 1 and b"not UTF-8" in done.stderr


@ENGINE
def test_quantize_writes_what_show_and_run_read(folder: Path, tmp_path: Path) -> None:
    written = json.loads(bezel("quantize", folder, tmp_path / "m.gguf", "-l", "balanced", "--json"))
    assert written["bytes"] == (tmp_path / "m.gguf").stat().st_size
    shown = json.loads(bezel("show", tmp_path / "m.gguf", "--json"))
    assert shown["architecture"] == "gemma3_text" and shown["tensors"]["Q8_0"] == 15
    assert bezel("run", "-m", tmp_path / "m.gguf", "-n", 4, "-t", 0, "x")
    assert "without a second loss" in bezel(
        "quantize", tmp_path / "m.gguf", tmp_path / "n.gguf", "-l", "Q4_0", status=1
    )
    assert "unknown level" in bezel("quantize", folder, tmp_path / "n.gguf", "-l", "Q3", status=1)
    assert not (tmp_path / "n.gguf").exists()


@ENGINE
def test_chat_keeps_history_and_obeys_commands(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    lines = ["first \\", "line", "second", "/undo", "/nonsense", "/stats", f"/save {tmp_path / 'copy.json'}", "/quit"]
    printed = bezel("chat", "-m", folder, "-n", 3, "-t", 0, "--session", file, given="\n".join(lines) + "\n")
    assert "3 written" in printed
    saved = json.loads(file.read_text())["messages"]
    assert [m["role"] for m in saved] == ["user", "assistant"] and saved[0]["content"] == "first \nline"
    assert json.loads((tmp_path / "copy.json").read_text())["messages"] == saved
    bezel("chat", "-m", folder, "-n", 3, "-t", 0, "--session", file, given="third\n")
    assert [m["role"] for m in json.loads(file.read_text())["messages"]] == ["user", "assistant"] * 2


@ENGINE
def test_an_answer_takes_the_shape_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}')
    run = ("run", "hello", "-m", folder, "--seed", 1)
    parsed = json.loads(bezel(*run, "--schema", schema))
    assert len(parsed) == 2 and all(isinstance(item, bool) for item in parsed)
    assert bezel(*run, "--choices", "yes, no").strip() in ("yes", "no")
    assert bezel(*run, "--regex", "[xy]{4}").strip().strip("xy") == ""
    assert "one of" in bezel(*run, "--regex", "x", "--choices", "a,b", status=1)
    schema.write_text("{")
    assert "not JSON" in bezel(*run, "--schema", schema, status=1)


def test_a_list_of_nothing_says_what_there_is() -> None:
    said = bezel("list", "zzz", status=1)
    assert "'zzz'" in said and "ShieldGemma" in said
    assert json.loads(bezel("list", "zzz", "--json")) == []


def test_a_target_without_a_name_is_refused(folder: Path) -> None:
    for target in ("", ".", "/"):
        assert "cannot be written" in bezel("quantize", folder, target, status=1)
    whole = write_checkpoint(folder.parent / "whole", config=GEMMA3N)
    assert "cannot be written" in bezel("slice", whole, "", "--size", "64,64,0,96", status=1)


def test_show_plans_a_context_that_the_model_holds(folder: Path) -> None:
    longest = int(json.loads(bezel("show", folder, "--json"))["context"].split()[0])
    assert json.loads(bezel("show", folder, "--memory", "--json"))["context"] == min(longest, 4096)
    for context in (-5, 0, longest + 1, 999_999_999):
        assert f"1 to {longest} tokens" in bezel("show", folder, "--memory", "-c", context, status=1)
    for more in ((), ("--memory",)):
        assert "1 to 32768 tokens" in bezel("show", "gemma-3-1b-it", *more, "-c", 32_769, status=1)
        assert "1 to 32768 tokens" in bezel("show", "gemma-3-1b-it", *more, "-c", -5, status=1)


def test_what_show_says_of_memory_alone_is_not_dropped(folder: Path) -> None:
    for option in (("--level", "balanced"), ("--size", "E2B"), ("-c", 100)):
        assert "add --memory" in bezel("show", folder, *option, status=1)


class Asked:
    """A model that remembers what it was asked, and embeds texts as their lengths."""

    def describe(self) -> dict[str, Any]:
        return {}

    def request(self, messages: Any, **options: Any) -> Any:
        self.messages, self.options = messages, options
        return messages

    def answer(self, request: Any, listen: Any) -> Result:
        return Result("fine", "stop", Usage(1, 1, 0.1, 0.1))

    def embed(self, texts: list[str], *_: Any) -> Any:
        self.texts = texts
        return np.array([[float(len(text))] for text in texts])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    model = Asked()
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: model)
    return model


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo", ["one", "two"]),
        ("one\x0bmore\x85and\u2028more\n\ttwo \n", ["one\x0bmore\x85and\u2028more", "\ttwo "]),
        ("one\rmore\n", ["one\rmore"]),
        ("one\n\r\n\n", ["one"]),
    ],
)
def test_an_embedding_for_each_line(given: str, texts: list[str], asked: Asked) -> None:
    done = CliRunner().invoke(app, ["embed"], input=given.encode())
    assert done.exit_code == 0 and asked.texts == texts and len(done.output.splitlines()) == len(texts)


@pytest.mark.parametrize(("given", "line"), [("a\n\nb\n", 2), ("\na\n", 1), ("a\n \t\nb", 2)])
def test_a_line_without_a_text_is_refused_by_its_number(given: str, line: int, asked: Asked) -> None:
    done = CliRunner().invoke(app, ["embed"], input=given)
    assert isinstance(done.exception, InvalidRequestError) and f"line {line} of" in str(done.exception)


def test_an_option_that_is_given_empty_is_given(asked: Asked) -> None:
    assert CliRunner().invoke(app, ["run", "--choices", "", "--tool-choice", "", "hi"], input="").exit_code == 0
    assert asked.options["choices"] == [""]
    assert asked.options["tool_choice"] == {"type": "function", "function": {"name": ""}}


@ENGINE
@pytest.mark.parametrize(("option", "said"), [("--choices", "none of them empty"), ("--tool-choice", "no tool")])
def test_an_empty_choice_is_refused(option: str, said: str, folder: Path) -> None:
    assert said in bezel("run", "-m", folder, option, "", "hello", status=1)


def test_files_may_begin_with_a_mark_and_have_any_name(asked: Asked, tmp_path: Path) -> None:
    text, schema, tools = tmp_path / os.fsdecode(b"f\xff.txt"), tmp_path / "s.json", tmp_path / "tools.json"
    text.write_text("notes", "utf-8-sig")
    schema.write_text("{}", "utf-8-sig")
    tools.write_text("[]", "utf-8-sig")
    line = ["run", "-f", str(text), "--schema", str(schema), "--tools", str(tools), "hi"]
    done = CliRunner().invoke(app, line, input="")
    assert done.exit_code == 0, done.exception
    assert asked.messages[-1]["content"] == "File f\ufffd.txt:\nnotes\n\nhi" and asked.options["schema"] == "{}"
