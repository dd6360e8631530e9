"""`bezel serve` and `bezel keys`."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from bezel.cli.main import app
from bezel.errors import InvalidRequestError, MissingExtraError, StorageError
from bezel.testing import GEMMA2, instruction_sets, write_checkpoint
from tests.safety.test_classifier import with_yes_and_no


def run(*arguments: str, database: Path) -> str:
    done = CliRunner().invoke(app, ["keys", *arguments, "--api-key-db", str(database)])
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_keys_from_the_command_line(tmp_path: Path) -> None:
    database = tmp_path / "folder" / "keys.sqlite3"
    first = run("create", "me", "--scope", "metrics", "--days", "2", "--rate-limit", "5", database=database)
    assert re.fullmatch(r"bz-[A-Za-z0-9_-]{43}", first)
    (known,) = json.loads(run("list", "--json", database=database))
    assert (known["name"], known["scopes"], known["rate_limit"]) == ("me", ["metrics"], 5)
    assert known["expires"] == pytest.approx(known["created"] + 2 * 86_400, abs=60)
    assert "in use" in run("list", database=database) and first not in run("list", database=database)
    assert run("rotate", "me", database=database).startswith("bz-")
    assert run("list", database=database).count("revoked") == 1
    run("revoke", "me", database=database)
    assert run("list", database=database).count("revoked") == 2


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["serve"])
    assert isinstance(done.exception, MissingExtraError)
    assert "uvicorn is not installed; run: pip install 'bezel[serve]'" in str(done.exception)


def test_a_server_that_nobody_or_everybody_could_use_does_not_start(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "--api-key-db", str(tmp_path / "k")])
    assert isinstance(done.exception, InvalidRequestError) and "bezel keys create" in str(done.exception)
    done = CliRunner().invoke(app, ["serve", "--no-auth", "--host", "0.0.0.0"])
    assert isinstance(done.exception, InvalidRequestError) and "everybody" in str(done.exception)


def children(process_id: int) -> list[int]:
    """Of all threads of a process."""
    lists = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(each) for text in lists for each in text.read_text().split()]


def test_a_policy_that_cannot_be_ends_the_start_before_a_model_is_loaded(tmp_path: Path) -> None:
    for flags, words in (
        (["--rules", str(tmp_path / "none.toml")], "the rules cannot be read"),
        (["--personal-data", "mail"], "choose of email"),
        (["--active-html", "strip"], "keep, remove, block"),
    ):
        done = CliRunner().invoke(app, ["serve", "no/such-model", "--no-auth", "--port", "0", *flags])
        assert done.exit_code != 0 and words in str(done.exception)


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_guard_is_loaded_beside_the_models(tmp_path: Path) -> None:
    from bezel.cli.serve import _guard
    from bezel.safety.settings import PolicySettings

    config = GEMMA2 | {"max_position_embeddings": 2048}
    judge = str(with_yes_and_no(write_checkpoint(tmp_path, vocabulary=300, config=config)))
    guard = _guard(PolicySettings(guard=(judge,), guard_policies=("hate",)), 1)
    verdict = guard.text("hello")
    assert guard.name == judge and list(verdict.probabilities) == ["hate"] and 0 < verdict.probabilities["hate"] < 1
    done = CliRunner().invoke(app, ["serve", "tiny", "--no-auth", "--guard", "tiny", "--threads", "1", "--port", "0"])
    assert "texts are judged by ShieldGemma" in str(done.exception)


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_server_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bezel.cli", "serve", "tiny", "--no-auth", "--port", "0", "--threads", "1"]
    environment = {**os.environ, "BEZEL_MAX_QUEUE": "3", "BEZEL_CONFIG": str(tmp_path / "bezel.toml")}
    (tmp_path / "bezel.toml").write_text("")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        assert "WARNING: no keys" in process.stderr.readline()
        said = re.search(r"tiny at (http://127.0.0.1:[1-9]\d+/v1)", process.stderr.readline())
        assert said is not None
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "What is 17 + 25?"}]}
        with httpx.Client(timeout=60, trust_env=False) as client:
            answer = client.post(f"{said[1]}/chat/completions", json=chat).json()
        (engine,) = children(process.pid)
        (tmp_path / "bezel.toml").write_text("[serve]\nrate_limit = 7\nport = 1")
        process.send_signal(signal.SIGHUP)
        request, reloaded = (json.loads(process.stderr.readline()) for _ in range(2))
        assert "42" in answer["choices"][0]["message"]["content"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert errors == "" and request["status"] == 200 and "What is" not in str(request)
    assert reloaded["event"] == "settings_reloaded" and reloaded["detail"] == "changed: rate_limit"
    assert not Path(f"/proc/{engine}").exists(), "the engine's process ends with the server"


def test_the_engine_may_run_in_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from bezel.backends import opening
    from bezel.backends.child import backend as child
    from bezel.cli.serve import _opened

    monkeypatch.setattr(opening, "open_backend", lambda **options: ("here", options))
    monkeypatch.setattr(child, "open_child", lambda **options: ("apart", options))
    assert _opened(True, model="tiny") == ("apart", {"model": "tiny"})
    assert _opened(False, model="tiny") == ("here", {"model": "tiny"})


def test_lives_of_keys_are_numbers_of_days(tmp_path: Path) -> None:
    database = tmp_path / "keys.sqlite3"
    run("create", "me", "--days", "36500", database=database)
    for line in (["create", "x", "--days"], ["rotate", "me", "--grace"]):
        for value in ("nan", "inf", "1e12"):
            done = CliRunner().invoke(app, ["keys", *line, value, "--api-key-db", str(database)])
            assert done.exit_code == 2 and line[-1] in done.output
    assert len(json.loads(run("list", "--json", database=database))) == 1


def test_a_key_without_a_date_does_not_hide_the_others(tmp_path: Path) -> None:
    database = tmp_path / "keys.sqlite3"
    run("create", "me", database=database)
    run("create", "you", database=database)
    with closing(sqlite3.connect(database, isolation_level=None)) as base:
        base.execute("UPDATE keys SET expires = 1e18 WHERE name = 'me'")
    listed = run("list", database=database)
    assert "expires 1e+18" in listed and "you" in listed


def test_only_a_new_key_makes_a_file_of_keys(tmp_path: Path) -> None:
    database = tmp_path / "typo.sqlite3"
    for line in (["list"], ["revoke", "me"], ["rotate", "me"]):
        done = CliRunner().invoke(app, ["keys", *line, "--api-key-db", str(database)])
        assert isinstance(done.exception, StorageError) and str(database) in str(done.exception)
    assert isinstance(CliRunner().invoke(app, ["serve", "--api-key-db", str(database)]).exception, InvalidRequestError)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["serve", "no/such-model", "--no-auth", "--port", str(port)])
    assert isinstance(done.exception, InvalidRequestError) and f"port {port} of 127.0.0.1" in str(done.exception)


def test_a_port_that_is_taken_meanwhile_is_named() -> None:
    from bezel.cli import serve
    from bezel.service.settings import ServerSettings

    settings = ServerSettings(port=1)
    with pytest.raises(InvalidRequestError, match=r"port 1 of 127.0.0.1.*in use"), serve._address_errors(settings):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
