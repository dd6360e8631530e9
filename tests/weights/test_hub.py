"""Model names, and what the hub's refusals turn into. No test leaves this machine."""

from pathlib import Path

import pytest

from bezel.errors import BezelError, DownloadError, InvalidRequestError, StorageError, UnknownModelError
from bezel.weights.hub import Reference, fetch, parse_reference


def test_names_are_taken_apart() -> None:
    assert parse_reference("google/gemma-3-1b-it") == Reference(repo="google/gemma-3-1b-it")
    assert parse_reference("a/b@refs/pr/3") == Reference(repo="a/b", revision="refs/pr/3")
    assert parse_reference("a/b@v1:sub/q4.gguf") == Reference(repo="a/b", revision="v1", file="sub/q4.gguf")


def test_what_exists_on_disk_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "google" / "gemma").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_reference("google/gemma").path == Path("google/gemma")


@pytest.mark.parametrize("name", ["", "gemma", "./none", "/none/x", "dir/none.gguf", "a/b/c", "a b/c", "a/b@"])
def test_names_that_lead_nowhere_say_what_to_write(name: str) -> None:
    with pytest.raises(UnknownModelError, match="owner/name"):
        parse_reference(name)


def test_a_file_may_not_climb_out_of_its_repository() -> None:
    with pytest.raises(InvalidRequestError, match="inside"):
        parse_reference("a/b:../../x.gguf")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("name", ["owner/absent", "owner/absent:x.gguf"])
def test_offline_and_not_cached_names_the_way_out(hub_cache: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="bezel pull owner/absent"):
        fetch(parse_reference(name))


def test_full_disk_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import huggingface_hub

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(StorageError, match="HF_HOME") as caught:
        fetch(Reference(repo="a/b"))
    assert isinstance(caught.value, BezelError)
