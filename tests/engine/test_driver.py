"""The thread behind streams: it serves several callers, cancels, passes errors on, and is gone when nothing is left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bezel.engine.driver import Driver
from bezel.engine.engine import Engine
from bezel.engine.request import Request
from bezel.errors import ContextLengthError
from bezel.generation.sampling import Sampling
from bezel.kernels.reference import Reference
from bezel.models.interface import TextModel
from bezel.models.registry import build
from bezel.testing import check_blocks, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("m")))
    return build(checkpoint.config, CheckpointWeights(checkpoint, Reference()), 96)


def _wait_until_idle(driver: Driver) -> None:
    deadline = time.monotonic() + 60
    while any(thread.name == "bezel-engine" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the engine's thread goes on"
        time.sleep(0.01)
    assert not driver.engine.busy
    check_blocks(driver.engine.blocks)
    assert all(group.available == group.count for group in driver.engine.blocks.groups.values())


def test_streams_of_several_threads_run_together_and_the_thread_ends(model: TextModel) -> None:
    driver = Driver(Engine(model, 4))
    counts: dict[int, int] = {}

    def read(length: int) -> None:
        stream = driver.submit(Request([7] * length, GREEDY, 12))
        counts[length] = sum(len(progress.steps) for progress in stream)

    threads = [threading.Thread(target=read, args=(length,)) for length in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {1: 12, 2: 12, 3: 12, 4: 12}
    _wait_until_idle(driver)
    assert driver.engine.statistics.steps < 4 * 12
    assert len(list(driver.submit(Request([9], GREEDY, 2)))) == 2, "a driver that was idle takes up again"


def test_a_cancelled_stream_ends_and_frees_its_blocks(model: TextModel) -> None:
    driver = Driver(Engine(model, 2))
    stream = driver.submit(Request([7, 8], GREEDY, 90))
    other = driver.submit(Request([7, 9], GREEDY, 5))
    assert next(iter(stream)).reason is None
    stream.cancel()
    assert [*stream][-1].reason == "cancelled"
    assert sum(len(progress.steps) for progress in other) == 5
    _wait_until_idle(driver)


def test_what_is_refused_leaves_no_trace(model: TextModel) -> None:
    driver = Driver(Engine(model, 2))
    with pytest.raises(ContextLengthError):
        driver.submit(Request([7] * 97, GREEDY))
    _wait_until_idle(driver)


def test_a_step_that_fails_ends_every_stream_and_the_next_request_is_answered(
    model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Engine(model, 1))
    fail = threading.Event()
    forward = model.forward

    def forward_or_fail(*arguments: object) -> object:
        if fail.is_set():
            raise MemoryError("no memory for a step")
        return forward(*arguments)

    monkeypatch.setattr(model, "forward", forward_or_fail)
    streams = [driver.submit(Request([7, 8], GREEDY, 80)) for _ in range(2)]
    next(iter(streams[0]))
    fail.set()
    for stream in streams:
        with pytest.raises(MemoryError, match="a step"):
            list(stream)
    fail.clear()
    assert len(list(driver.submit(Request([7, 8], GREEDY, 3)))) == 3
    _wait_until_idle(driver)


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_stream_that_nobody_reads_does_not_keep_the_interpreter(tmp_path: Path) -> None:
    script = (
        "import sys, bezel\n"
        "from bezel.testing import write_checkpoint\n"
        "from pathlib import Path\n"
        "model = bezel.load(str(write_checkpoint(Path(sys.argv[1]), 1)), threads=1)\n"
        "events = model.events(model.request(prompt='a', logit_bias={1: -1e9, 5: -1e9}))\n"
        "print(type(next(events)).__name__)\n"
        "keep = [events]; keep.append(keep)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Delta\n", "")
