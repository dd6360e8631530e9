"""Signatures become command lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import pytest
from click.testing import CliRunner

from bezel.cli import main as cli
from bezel.cli.commands import Argument, Option, command, group

Given = dict[str, Any]


def invoked(*arguments: str, **environment: str) -> tuple[int, Given, str]:
    """Exit status, what a verb of every kind of parameter was given, and what was printed."""
    given: Given = {}

    def verb(
        name: Annotated[str, Argument(help="Its name.")],
        rest: Annotated[list[Path] | None, Argument(help="Files.")] = None,
        count: Annotated[int, Option("--count", "-c", min=1, help="How many.")] = 3,
        share: Annotated[float | None, Option(min=0, help="Of all.")] = None,
        rate: Annotated[float | None, Option(above=0, max=9, help="How fast.")] = None,
        any: Annotated[float | None, Option(help="Any number.")] = None,
        ends: Annotated[list[str] | None, Option(help="Ends.")] = None,
        big_size: Annotated[bool | None, Option(help="Big.")] = None,
        plain: Annotated[bool, Option("--plain", help="Plain.")] = False,
        where: Annotated[Path | None, Option(envvar="BEZEL_WHERE", help="Where to.")] = None,
    ) -> None:
        """Do it.

        And more.
        """
        given.update(locals())

    done = CliRunner().invoke(group("all", "Verbs.", [command("do", verb)]), ["do", *arguments], env=environment)
    given.pop("given", None)
    return done.exit_code, given, done.output


def test_what_is_not_given_has_the_default_of_the_signature() -> None:
    status, given, _ = invoked("it")
    unset = dict.fromkeys(("rest", "share", "rate", "any", "ends", "big_size", "where"))
    assert status == 0 and given == {"name": "it", "count": 3, "plain": False, **unset}


def test_what_is_given_arrives_with_the_types_of_the_signature() -> None:
    options = (
        "-c",
        "7",
        "--share",
        "0",
        "--rate",
        "9",
        "--any",
        "-1.5",
        "--ends",
        "a",
        "--ends",
        "b",
        "--no-big-size",
        "--plain",
    )
    status, given, _ = invoked("it", "x.txt", *options, "y.txt", BEZEL_WHERE="/there")
    assert status == 0
    assert given == {
        "name": "it",
        "rest": [Path("x.txt"), Path("y.txt")],
        "count": 7,
        "share": 0.0,
        "rate": 9.0,
        "any": -1.5,
        "ends": ["a", "b"],
        "big_size": False,
        "plain": True,
        "where": Path("/there"),
    }
    assert invoked("it", "--big-size")[1]["big_size"] is True
    assert invoked("it", "--where", "/here", BEZEL_WHERE="/there")[1]["where"] == Path("/here")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "NAME"),
        (("it", "-c", "0"), "-c"),
        (("it", "--count", "many"), "--count"),
        (("it", "--share", "-0.1"), "--share"),
        (("it", "--rate", "0"), "--rate"),
        (("it", "--rate", "9.1"), "--rate"),
        (("it", "--rate", "nan"), "--rate"),
        (("it", "--share", "inf"), "--share"),
        (("it", "--any", "NaN"), "--any"),
        (("it", "--any", "-inf"), "--any"),
        (("it", "--no-plain"), "--no-plain"),
        (("it", "--nothing"), "--nothing"),
    ],
)
def test_what_cannot_be_read_is_said(arguments: tuple[str, ...], said: str) -> None:
    status, given, output = invoked(*arguments)
    assert status == 2 and not given and said in output


def test_help_names_everything() -> None:
    status, given, output = invoked("--help")
    assert status == 0 and not given
    for text in ("Do it.", "And more.", "Its name.", "--big-size / --no-big-size", "default: 3", "BEZEL_WHERE"):
        assert text in output
    listed = CliRunner().invoke(cli.app, ["--help"]).output
    assert listed.index(" run ") < listed.index(" keys ") < listed.index(" bench "), "in order of use"


@pytest.mark.parametrize(
    ("raised", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 1), (cli.BezelError("Alas."), 1), (None, 0)]
)
def test_exit_status(
    raised: Any, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        if raised:
            raise raised

    monkeypatch.setattr(cli, "app", group("bezel", "", [command("do", verb)]))
    monkeypatch.setattr("sys.argv", ["bezel", "do"])
    assert cli.main() == status
    assert ("bezel: Alas." in capsys.readouterr().err) == isinstance(raised, cli.BezelError)
    monkeypatch.setattr("sys.argv", ["bezel", "do", "--what"])
    assert cli.main() == 2


@pytest.mark.parametrize(
    ("encoding", "printed"), [("ascii", b"caf? \n"), ("latin-1", b"caf\xe9 \n"), ("utf-8", b"caf\xc3\xa9 ")]
)
def test_what_a_terminal_cannot_show_is_a_question_mark(
    encoding: str, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb() -> None:
        print("café", "" if encoding != "utf-8" else "\udcff")

    monkeypatch.setattr(cli, "app", group("bezel", "", [command("do", verb)]))
    monkeypatch.setattr("sys.argv", ["bezel", "do"])
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    assert cli.main() == 0 and written.getvalue().startswith(printed)


def test_output_may_be_no_stream_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", group("bezel", "", [command("do", lambda: print("café"))]))
    monkeypatch.setattr("sys.argv", ["bezel", "do"])
    for stream in (io.StringIO(), None):
        monkeypatch.setattr("sys.stdout", stream)
        assert cli.main() == 0
