"""`bezel check` on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.cli.main import app
from bezel.errors import InvalidRequestError
from tests.safety.test_classifier import Scripted


def ran(*arguments: str, given: str = "") -> Any:
    return CliRunner().invoke(app, ["check", *arguments], input=given)


def test_verdicts_are_printed_and_told_by_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: loaded.append(names) or Scripted("lock"))
    fine = ran("good", "day")
    assert fine.exit_code == 0 and fine.stdout.count("4.74%") == 4 and "violated" not in fine.stdout
    blocked = ran("--policy", "hate", "--json", "-", given="a l&#111;ck")
    assert blocked.exit_code == 3
    told = json.loads(blocked.stdout)
    assert told["violated"] == ["hate"] and told["undone"] == ["HTML escapes"]
    assert ran("good", "--answer", "a lock", "--threshold", "0.9").exit_code == 3
    assert {name for name, _ in loaded} == {"google/shieldgemma-2b"}


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        ([], "", "standard input is empty"),
        (["-"], " \n", "standard input is empty"),
        ([""], "", "the text is empty"),
        (["hi", "--answer", " "], "", "the answer is empty"),
    ],
)
def test_nothing_is_no_text_to_be_judged(
    arguments: list[str], given: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: pytest.fail("loaded"))
    refused = ran(*arguments, given=given)
    assert isinstance(refused.exception, InvalidRequestError) and said in str(refused.exception)


def test_nobody_is_waited_for_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bezel.cli.piped.at_terminal", lambda: True)
    refused = ran(given="a lock")
    assert isinstance(refused.exception, InvalidRequestError) and "write: bezel check" in str(refused.exception)


def test_a_policy_that_is_none_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: pytest.fail("loaded"))
    assert isinstance(ran("hi", "--policy", "fun").exception, InvalidRequestError)
