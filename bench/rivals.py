"""One measurement of bezel, of llama.cpp or of OpenVINO GenAI, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PROMPT = "Name three rivers."


@dataclass(frozen=True)
class Speed:
    """What is timed: tokens a second of reading `prompt` tokens, or of writing `new` ones behind `depth`."""

    name: str
    prompt: int
    new: int
    depth: int = 0


@dataclass(frozen=True)
class Whole:
    """A whole process that reads a short prompt and writes one token: seconds, and the most memory it held in bytes."""

    seconds: float
    peak_memory: int


class Engine(Protocol):
    """What takes part in a comparison."""

    @property
    def name(self) -> str: ...

    def speed(self, test: Speed) -> float: ...

    def whole(self) -> Whole: ...


def run_whole(command: list[str], environment: dict[str, str] | None = None) -> Whole:
    """Run a command from its start to its end. SystemExit with what it said where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    return Whole(seconds, usage.ru_maxrss * 1024)


def last_json(command: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """The JSON object on the last line of what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Bezel:
    """`bezel bench` and `bezel run` of this installation; `options` go to both."""

    file: Path
    threads: int
    options: tuple[str, ...] = ()
    name: str = "bezel"

    def speed(self, test: Speed) -> float:
        command = [sys.executable, "-m", "bezel.cli", "bench", str(self.file), "--json", "--threads", str(self.threads)]
        command += ["-p", str(test.prompt or 1), "-n", str(test.new or 1), "-d", str(test.depth), *self.options]
        return last_json(command)["decode_tokens_per_second" if test.new else "prefill_tokens_per_second"]

    def whole(self) -> Whole:
        command = [sys.executable, "-m", "bezel.cli", "run", "-m", str(self.file), "-n", "1", "-t", "0"]
        return run_whole([*command, "--threads", str(self.threads), *self.options, PROMPT])


@dataclass(frozen=True)
class LlamaCpp:
    """llama.cpp's own tools, `llama-bench` and `llama-completion`, in the folder that they were built into."""

    folder: Path
    file: Path
    threads: int
    name: str = "llama.cpp"

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"LD_LIBRARY_PATH": str(self.folder)}

    def speed(self, test: Speed) -> float:
        command = [str(self.folder / "llama-bench"), "-m", str(self.file), "-t", str(self.threads), "-r", "1"]
        command += ["-o", "jsonl", "-p", str(test.prompt), "-n", str(test.new), "-d", str(test.depth)]
        return float(last_json(command, self._environment)["avg_ts"])

    def whole(self) -> Whole:
        command = [str(self.folder / "llama-completion"), "-m", str(self.file), "-t", str(self.threads), "-n", "1"]
        return run_whole([*command, "--temp", "0", "-no-cnv", "-c", "8192", "-p", PROMPT], self._environment)


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO GenAI in an environment of its own (`openvino_rival.py`)."""

    python: Path
    folder: Path
    threads: int
    name: str = "OpenVINO"

    def speed(self, test: Speed) -> float:
        script = Path(__file__).with_name("openvino_rival.py")
        command = [str(self.python), str(script), "run", str(self.folder), "--threads", str(self.threads)]
        command += ["--prompt", str(max(test.prompt, test.depth, 1)), "--new", str(test.new or 1)]
        return last_json(command)["decode_tokens_per_second" if test.new else "prefill_tokens_per_second"]

    def whole(self) -> Whole:
        raise SystemExit("a whole process is compared with llama.cpp's alone")
