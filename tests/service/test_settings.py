"""Settings of the server come from flags, the environment and a file, in this order, and have ranges."""

from __future__ import annotations

from pathlib import Path

import pytest

from bezel.errors import InvalidRequestError
from bezel.service.settings import ServerSettings
from bezel.settings import read_settings


def read(flags: dict[str, object], environment: dict[str, str], file: Path | None = None) -> ServerSettings:
    return read_settings(ServerSettings, "serve", flags, environment, file)


def test_who_is_asked_first(tmp_path: Path) -> None:
    file = tmp_path / "bezel.toml"
    file.write_text(
        '[serve]\nport = 1\nmax_queue = 2\nrate_limit = 3\nallowed_origins = ["https://a"]\nqueue_seconds = 5\n'
    )
    found = read({"port": 10, "max_queue": None}, {"BEZEL_PORT": "20", "BEZEL_MAX_QUEUE": "30"}, file)
    assert (found.port, found.max_queue, found.rate_limit, found.queue_seconds) == (10, 30, 3, 5.0)
    assert found.allowed_origins == ("https://a",) and found.host == "127.0.0.1"


def test_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read({}, {}).port == 8000
    Path("bezel.toml").write_text("[serve]\nport = 1\n")
    Path("other.toml").write_text("[serve]\nport = 2\n[else]\nx = 1\n")
    assert read({}, {}).port == 1
    assert read({}, {"BEZEL_CONFIG": "other.toml"}).port == 2
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read({}, {"BEZEL_CONFIG": "missing.toml"})


def test_the_environment_spells_values() -> None:
    spelled = {
        "BEZEL_NO_AUTH": "true",
        "BEZEL_ALLOWED_HOSTS": "a, b,",
        "BEZEL_QUEUE_SECONDS": "1.5",
        "BEZEL_HOST": "::1",
    }
    found = read({}, spelled)
    assert found.no_auth and found.allowed_hosts == ("a", "b") and found.queue_seconds == 1.5 and found.host == "::1"
    for name, text in {"BEZEL_NO_AUTH": "maybe", "BEZEL_PORT": "many", "BEZEL_QUEUE_SECONDS": "x"}.items():
        with pytest.raises(InvalidRequestError, match=name):
            read({}, {name: text})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "no setting 'prot'"),
        ('port = "1"', "port is '1'"),
        ("port = true", "port is True"),
        ("port = 1.5", "port is 1.5"),
        ("port = 70000", "between 0 and 65535"),
        ("no_auth = 1", "no_auth is 1"),
        ("allowed_hosts = [1]", "allowed_hosts"),
        ('allowed_hosts = "a"', "allowed_hosts"),
        ("port", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bezel.toml"
    file.write_text(f"[serve]\n{text}\n")
    with pytest.raises(InvalidRequestError, match=words):
        read({}, {}, file)
    file.write_text("serve = 1")
    with pytest.raises(InvalidRequestError, match="must be a table"):
        read({}, {}, file)


@pytest.mark.parametrize("name", ["max_num_seqs", "max_queue", "max_body_bytes", "max_text_chars", "rate_limit"])
@pytest.mark.parametrize("value", [-1, 1 << 60])
def test_numbers_have_ranges(name: str, value: int) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        ServerSettings(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="queue_seconds"):
        ServerSettings(queue_seconds=float("nan"))


def test_certificates_come_with_their_keys() -> None:
    with pytest.raises(InvalidRequestError, match="belong together"):
        ServerSettings(ssl_certfile="a")
