"""A child starts when needed, knows nothing, is used again and is replaced when it breaks; errors are typed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bezel.errors import (
    BezelError,
    CorruptMediaError,
    InvalidRequestError,
    MediaError,
    MediaTimeoutError,
    MediaTooLargeError,
)
from bezel.media import decoding, process
from bezel.media.decoding import Decoder, decode_image, shared_decoder
from bezel.media.formats import Kind
from bezel.media.limits import Limits
from bezel.media.protocol import DECODINGS, READY, Answer, Tag
from tests.media.samples import colours, encoded, tone, wav

SMALL = encoded(Image.fromarray(colours(8, 8)), "PNG")
LARGE = encoded(Image.effect_noise((4000, 4000), 50).convert("RGB"), "PNG", compress_level=1)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


def child_of(decoder: Decoder) -> process.Child:
    (child,) = decoder._idle
    return child


def test_one_child_of_a_kind_is_started_when_needed_and_used_again(decoder: Decoder) -> None:
    assert decoder._idle == []
    decoder.image(SMALL)
    child = child_of(decoder)
    decoder.image(SMALL)
    assert child_of(decoder) is child and child.decodings == 2
    decoder.audio(wav(bytes(640)))
    assert len(decoder._idle) == 2
    decoder.close()
    assert decoder._idle == [] and not child.waits


def test_a_child_is_replaced_after_some_files(decoder: Decoder) -> None:
    decoder.image(SMALL)
    first = child_of(decoder).process_id
    for _ in range(DECODINGS - 1):
        decoder.image(SMALL)
    assert decoder._idle == []
    decoder.image(SMALL)
    assert child_of(decoder).process_id != first


@on_linux
def test_a_child_inherits_nothing(decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:/secret/place")
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        decoder.image(SMALL)
    folder = Path(f"/proc/{child_of(decoder).process_id}")
    names = {entry.partition(b"=")[0].decode() for entry in (folder / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {"LANG", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", *process._KEPT}
    assert {entry.name for entry in (folder / "fd").iterdir()} == {"0", "1", "2"}
    assert (folder / "cwd").resolve() == Path("/")
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (folder / "limits").read_text().splitlines()}
    for name in ("Max file size", "Max core file size", "Max processes", "Max open files"):
        assert limits[name] == ["0", "0"], name
    assert int(limits["Max address space"][1]) < (1 << 30) + (512 << 20)
    assert int(limits["Max cpu time"][1]) == 30 * DECODINGS
    assert "NoNewPrivs:\t1" in (folder / "status").read_text()


CONFINED = """
import os, socket
from bezel.media.child.confine import confine
from bezel.media.limits import Limits
confine(Limits(memory=64 << 20))
found = []
for name, try_it in {
    "file": lambda: open("/etc/hostname"),
    "socket": lambda: socket.socket(),
    "pipe": lambda: os.pipe(),
    "duplicate": lambda: os.dup(1),
    "memory": lambda: bytearray(300 << 20),
}.items():
    try:
        try_it()
        found.append(name)
    except (OSError, MemoryError):
        pass
os.write(1, repr(found).encode())
"""


def test_a_confined_process_opens_nothing_and_stays_small() -> None:
    done = subprocess.run([sys.executable, "-c", CONFINED], capture_output=True, timeout=60)
    assert done.stdout == b"[]", done


def test_a_slow_file_is_given_up(decoder: Decoder) -> None:
    slow = Decoder(Limits(seconds=0.05))
    began = time.perf_counter()
    with pytest.raises(MediaTimeoutError, match=r"longer than 0\.05 s"):
        slow.image(LARGE)
    assert time.perf_counter() - began < 5 and slow._idle == []
    assert slow.image(SMALL).shape == (8, 8, 3)
    slow.close()


def test_a_child_that_hangs_is_ended_by_the_parent(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    speaking(monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(process, "GRACE", 0.1)
    with pytest.raises(MediaTimeoutError):
        Decoder(Limits(seconds=0.1)).image(SMALL)


def test_too_little_memory_is_an_error_and_the_child_lives() -> None:
    poor = Decoder(Limits(memory=16 << 20, bytes=32 << 20))
    poor.image(SMALL)
    child = child_of(poor)
    with pytest.raises(MediaTooLargeError, match="memory"):
        poor.image(encoded(Image.new("RGB", (7000, 7000)), "PNG"))
    assert child_of(poor) is child
    assert poor.image(SMALL).shape == (8, 8, 3)
    poor.close()


@on_linux
@pytest.mark.parametrize(
    ("number", "error", "words"),
    [(signal.SIGSEGV, CorruptMediaError, "crash"), (signal.SIGKILL, MediaTooLargeError, "memory")],
)
def test_a_crash_is_an_error_and_the_next_file_is_read(
    decoder: Decoder, number: signal.Signals, error: type[MediaError], words: str
) -> None:
    decoder.image(SMALL)
    child = child_of(decoder).process_id
    os.kill(child, signal.SIGSTOP)
    waiting = threading.Timer(0.2, lambda: (os.kill(child, number), os.kill(child, signal.SIGCONT)))
    waiting.start()
    with pytest.raises(error, match=words):
        decoder.image(SMALL)
    waiting.join()
    assert decoder.image(SMALL).shape == (8, 8, 3)
    assert child_of(decoder).process_id != child


def test_a_child_that_ended_while_it_waited_is_no_error(decoder: Decoder) -> None:
    decoder.image(SMALL)
    os.kill(child_of(decoder).process_id, signal.SIGKILL)
    time.sleep(0.2)
    assert decoder.image(SMALL).shape == (8, 8, 3)


def test_a_child_without_work_ends(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder.image(SMALL)
    child = child_of(decoder)
    assert child.waits
    monkeypatch.setattr(process, "IDLE_SECONDS", process.GRACE)
    assert not child.waits
    monkeypatch.undo()
    os.kill(child.process_id, signal.SIGALRM)  # what its own timer does
    assert child._process.wait(5) == -signal.SIGALRM
    assert decoder.image(SMALL).shape == (8, 8, 3)


@on_linux
def test_children_end_with_their_parent() -> None:
    script = "import sys; from bezel.media.decoding import decode_image, shared_decoder\n"
    script += f"decode_image({SMALL!r}); print(shared_decoder()._idle[0].process_id, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}/stat")
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    for _ in range(100):
        if not child.exists() or ") Z" in child.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the child is still there")


def speaking(monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """Children are programs that get ready, take the request and then do as `says`."""
    code = f"import os, struct, time\nos.write(1, {READY!r})\nos.read(0, 1 << 16)\n{says}\ntime.sleep(30)"
    monkeypatch.setattr(process, "_CODE", code)


@pytest.mark.parametrize(
    "said",
    [
        b"\0" * 64,
        Answer(9).pack(),
        Answer(Tag.END).pack(),
        Answer(Tag.PICTURE, 1, 1 << 31, 1 << 31, (3 << 62) % (1 << 64)).pack(),
        Answer(Tag.PICTURE, 1, 7072, 7072, 7072 * 7072 * 3).pack(),
        Answer(Tag.PICTURE, 1, 2, 2, 11).pack() + bytes(11),
        Answer(Tag.PICTURE, 1, 0, 0, 0).pack(),
        Answer(Tag.PICTURE, 9, 1, 1, 3).pack() + bytes(3),
        Answer(Tag.PICTURE, 1, 1, 1, 3, float("nan")).pack() + bytes(3),
        (Answer(Tag.PICTURE, 1, 1, 1, 3).pack() + bytes(3)) * 2,
        Answer(Tag.SOUND, size=1 << 62).pack(),
    ],
)
def test_a_child_that_was_taken_over_can_say_what_it_likes(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    speaking(monkeypatch, f"os.write(1, {said!r})")
    decoder = Decoder(Limits(seconds=5))
    with pytest.raises(CorruptMediaError, match="nonsense"):
        decoder.image(SMALL)
    decoder.close()


def test_failures_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    speaking(monkeypatch, f"os.write(1, {Answer(Tag.FAILURE, 250, 1 << 31, 7).pack()!r})")
    decoder = Decoder(Limits(seconds=5))
    with pytest.raises(CorruptMediaError, match="broken"):
        decoder.image(SMALL)
    decoder.close()


def test_a_child_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_CODE", "raise SystemExit(1)")
    with pytest.raises(MediaError, match="does not start"):
        Decoder().image(SMALL)


def test_many_threads(decoder: Decoder) -> None:
    """More callers than children, pictures and sounds: each gets its own."""
    shades = [encoded(Image.new("RGB", (5 + n, 4), (n, n, n)), "PNG") for n in range(24)]
    found: dict[int, object] = {}

    def work(number: int) -> None:
        try:
            picture = decoder.image(shades[number])
            sound = decoder.audio(wav((tone(16_000, 0.01 * (number + 1))[:, 0] * 9999).astype("<i2").tobytes()))
            assert picture.shape == (4, 5 + number, 3) and np.all(picture == number)
            assert len(sound) == 160 * (number + 1)
            found[number] = True
        except BezelError as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found.values()) == {True}
    assert len(decoder._idle) <= 4


def test_an_interrupt_leaves_no_half_conversation(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder.image(SMALL)
    real: Callable[..., None] = process.Child.read_into

    def interrupted(self: process.Child, buffer: memoryview) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process.Child, "read_into", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decoder.image(SMALL)
    monkeypatch.setattr(process.Child, "read_into", real)
    assert decoder._idle == []
    assert np.array_equal(decoder.image(SMALL), colours(8, 8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_starts_its_own_children(decoder: Decoder) -> None:
    decoder.image(SMALL)
    mine = child_of(decoder).process_id
    forked = os.fork()
    if forked == 0:
        good = False
        try:
            good = decoder.image(SMALL).shape == (8, 8, 3) and child_of(decoder).process_id != mine
            decoder.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(forked, 0)[1] == 0
    assert decoder.image(SMALL).shape == (8, 8, 3) and child_of(decoder).process_id == mine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_forked_while_a_thread_decodes_does_not_wait_for_it(decoder: Decoder) -> None:
    held, done = threading.Event(), threading.Event()
    one, shared = Decoder(children=1), shared_decoder()

    def hold() -> None:
        with one._room, one._lock, shared._lock, decoding._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    forked = os.fork()
    if forked == 0:
        signal.alarm(20)
        good = False
        try:
            good = one.image(SMALL).shape == decode_image(SMALL).shape == (8, 8, 3)
            one.close()
            shared.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(forked, 0)[1] == 0
    done.set()
    thread.join()


def test_children_of_many_limits_end() -> None:
    asked = [Limits(seconds=20 + number) for number in range(decoding._MOST_SHARED)]
    children = []
    for limits in asked:
        decode_image(SMALL, limits)
        children.append(child_of(shared_decoder(limits)))
    assert all(child.waits for child in children)
    shared_decoder(asked[0])
    busy = shared_decoder(asked[1])
    with busy._child(Kind.PICTURE):
        for number in range(len(asked)):
            decode_image(SMALL, Limits(seconds=40 + number))
        assert [child.waits for child in children] == [False, True] + [False] * (len(asked) - 2)
        assert len(decoding._shared) == decoding._MOST_SHARED
    busy.close()
    for number in range(len(asked)):
        shared_decoder(Limits(seconds=40 + number)).close()


@on_linux
def test_a_child_that_ended_is_taken_off_the_list_when_another_decoder_decodes(decoder: Decoder) -> None:
    decoder.image(SMALL)
    child = child_of(decoder).process_id
    os.kill(child, signal.SIGKILL)
    time.sleep(0.2)
    assert Path(f"/proc/{child}").exists()
    decode_image(SMALL)
    assert not Path(f"/proc/{child}").exists() and decoder._idle == []


def test_a_folder_that_was_deleted_is_no_matter(tmp_path: Path) -> None:
    script = "import os, sys; from bezel.media.decoding import decode_image\nos.rmdir(os.getcwd())\n"
    script += f"sys.path.insert(0, 'relative'); print(decode_image({SMALL!r}).shape)"
    (tmp_path / "here").mkdir()
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "here", capture_output=True, timeout=60)
    assert done.stdout.strip() == b"(8, 8, 3)", done


@pytest.mark.parametrize("children", [0, -1, 65, 1.0, True, None])
def test_children_are_a_number_in_range(children: object) -> None:
    with pytest.raises(InvalidRequestError, match="children is"):
        Decoder(children=children)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_second", ["2", 0, -1, float("nan"), float("inf"), True, 1j])
def test_frames_a_second_are_a_number_in_range(decoder: Decoder, per_second: object) -> None:
    with pytest.raises(InvalidRequestError, match="per_second is"):
        decoder.frames(SMALL, per_second)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["chart.png", Path("chart.png"), None, memoryview(bytes(8)).cast("I")], ids=str)
def test_a_file_is_bytes(decoder: Decoder, data: object) -> None:
    with pytest.raises(InvalidRequestError, match="send its bytes"):
        decoder.image(data)  # type: ignore[arg-type]
    assert decoder.image(bytearray(SMALL)).shape == decoder.image(memoryview(SMALL)).shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["bytes", "pixels", "frames", "channels", "lowest_rate", "highest_rate", "memory"])
def test_what_is_counted_is_whole(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} is 8.0; it must be a whole number"):
        Limits(**{name: 8.0})  # type: ignore[arg-type]
    assert Limits(seconds=1.5, audio_seconds=2.5).seconds == 1.5


@pytest.mark.parametrize("name", ["bytes", "pixels", "frames", "audio_seconds", "channels", "seconds", "memory"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e30, "5", None, True])
def test_limits_are_numbers_in_range(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_the_lowest_rate_is_not_over_the_highest() -> None:
    with pytest.raises(InvalidRequestError, match="lowest_rate"):
        Limits(lowest_rate=48_000, highest_rate=16_000)
