"""The process of an engine ends in every way that there is; the one who asks is told, and another takes its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bezel.backends.child.backend import ChildBackend, open_child
from bezel.backends.child.process import Ended
from bezel.backends.interface import Embedder, Request
from bezel.errors import EngineLostError, EngineStartingError, InvalidRequestError, UnknownModelError
from bezel.generation.sampling import Sampling
from bezel.testing import GEMMA3, instruction_sets, write_checkpoint

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
LONG = Request(prompt="word", max_tokens=8000, sampling=Sampling(logit_bias={1: -100.0, 5: -100.0}))


def wait_until_up(backend: ChildBackend, seconds: float = 120.0) -> int:
    deadline = time.monotonic() + seconds
    while (process_id := backend.process_id) is None:
        assert time.monotonic() < deadline, "it is not started again"
        time.sleep(0.01)
    return process_id


def alive(process_id: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(process_id: int) -> bool:
    """Whether a process ends within a minute."""
    deadline = time.monotonic() + 60
    while alive(process_id) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(process_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"), config=GEMMA3 | {"max_position_embeddings": 8192})


@pytest.fixture
def backend(folder: Path) -> Iterator[ChildBackend]:
    found = open_child(model=str(folder), threads=1)
    yield found
    found.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_an_end_in_the_middle_is_an_error_and_another_answers(backend: ChildBackend, how: signal.Signals) -> None:
    told: list[tuple[str, str]] = []
    backend.tell(lambda event, detail: told.append((event, detail)))
    streams = [backend.stream(LONG) for _ in range(3)]
    for stream in streams:
        next(stream)
    before = backend.process_id
    assert before is not None and backend.memory().resident > 1 << 20
    os.kill(before, how)
    for stream in streams:
        with pytest.raises(EngineLostError, match=how.name):
            list(stream)
        assert list(stream) == []
    try:
        backend.health()
    except EngineStartingError as error:
        assert error.retry_after >= 1
    assert wait_until_up(backend) != before
    assert backend.health() == {"status": "healthy"} and backend.restarts == 1
    assert [event for event, _ in told] == ["engine_ended", "engine_started"] and how.name in told[0][1]


def test_what_is_asked_meanwhile_is_refused_at_once(backend: ChildBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    go, start = threading.Event(), type(backend._supervisor)._started
    monkeypatch.setattr(type(backend._supervisor), "_started", lambda self: go.wait() and start(self))
    try:
        assert backend.process_id is not None
        os.kill(backend.process_id, signal.SIGKILL)
        while backend.process_id is not None:
            time.sleep(0.001)
        for ask in (lambda: next(backend.stream(LONG)), backend.health, lambda: backend.text_of([1])):
            with pytest.raises(EngineStartingError):
                ask()
        assert backend.describe()["context"] == 8192 and backend.memory().resident == 0
    finally:
        go.set()
    wait_until_up(backend)
    assert backend.text_of([2])


def test_a_start_that_fails_is_tried_again(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.symlink_to(folder)
    backend = open_child(model=str(place), threads=1)
    try:
        told = threading.Event()
        backend.tell(lambda event, detail: told.set() if event == "engine_failed_to_start" else None)
        place.unlink()
        assert backend.process_id is not None
        os.kill(backend.process_id, signal.SIGKILL)
        assert told.wait(60) and backend.process_id is None
        place.symlink_to(folder)
        wait_until_up(backend)
        assert backend.health() == {"status": "healthy"}
    finally:
        backend.close()


def test_what_cannot_be_loaded_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError):
        open_child(model=str(tmp_path / "none"))
    with pytest.raises(InvalidRequestError, match="unknown level"):
        open_child(model="tiny", level="none")


def test_closing_ends_the_process_and_what_runs(folder: Path) -> None:
    backend = open_child(model=str(folder), threads=1)
    process_id, stream = backend.process_id, backend.stream(LONG)
    assert process_id is not None
    next(stream)
    backend.close()
    assert not alive(process_id)
    with pytest.raises(EngineLostError):
        list(stream)
    with pytest.raises(EngineStartingError):
        backend.health()


def test_closing_a_stream_ends_it_in_the_engine(backend: ChildBackend) -> None:
    stream, seen = backend.stream(LONG), 0
    next(stream)
    stream.close()
    assert stream._asked is not None
    while not isinstance(stream._asked.answers.get(timeout=60), Ended):
        seen += 1
    assert seen < 4000, "it would go on for 8000 tokens"


def test_a_process_that_hangs_is_ended_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bezel.backends.child.supervisor.GRACE_SECONDS", 0.1)
    backend = open_child(model=str(folder), threads=1)
    assert backend.process_id is not None
    os.kill(backend.process_id, signal.SIGSTOP)
    stream = threading.Thread(target=lambda: backend.stream(LONG).close())
    stream.start()
    stream.join(10)
    assert not stream.is_alive(), "who closes waits for nobody"
    process_id = backend.process_id
    backend.close()
    assert not alive(process_id)


def test_no_process_outlives_the_one_that_started_it(folder: Path) -> None:
    code = (
        "import sys, time; from bezel.backends.child.backend import open_child\n"
        "print(open_child(model=sys.argv[1], threads=1).process_id, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.communicate()
    assert ended(child)


def test_a_model_that_embeds(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", config=GEMMA3 | {"use_bidirectional_attention": True})
    backend = open_child(model=str(folder), threads=1)
    try:
        assert isinstance(backend, Embedder)
        rows = backend.embed(["one", "two three"], dimensions=8)
        assert rows.shape == (2, 8) and rows.dtype == "float32"
        assert backend.token_counts(["one"]) == [len("one") + 2], "between <bos> and <eos>"
        with pytest.raises(InvalidRequestError, match="dimensions"):
            backend.embed(["one"], dimensions=9999)
    finally:
        backend.close()
