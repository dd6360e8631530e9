"""Sizes, budgets, the edge profile and memory as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint

ENGINE = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
SIZE = "64,64,0,96"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("whole") / "tiny-3n", config=GEMMA3N)


def bezel(*arguments: object, given: str = "", status: int = 0) -> tuple[str, str]:
    """Standard output and standard error of `bezel ARGUMENTS`."""
    command = [sys.executable, "-m", "bezel.cli", *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


@ENGINE
def test_a_slice_is_written_and_answers_as_the_size_does(folder: Path, tmp_path: Path) -> None:
    written = json.loads(bezel("slice", folder, tmp_path / "cut", "--size", SIZE, "--json")[0])
    assert written["bytes"] == (tmp_path / "cut" / "model.safetensors").stat().st_size - header_bytes(tmp_path / "cut")
    shown = json.loads(bezel("show", tmp_path / "cut", "--json")[0])
    assert shown["layers"] == 3
    options = ("-n", 8, "-t", 0, "--json", "hello")
    whole, cut, at_load = (
        json.loads(bezel("run", "-m", path, *more, *options)[0])["text"]
        for path, more in ((folder, ()), (tmp_path / "cut", ()), (folder, ("--size", SIZE)))
    )
    assert cut == at_load != whole
    assert "exists already" in bezel("slice", folder, tmp_path / "cut", "--size", SIZE, status=1)[1]
    assert "no published size" in bezel("slice", folder, tmp_path / "other", "--size", "huge", status=1)[1]


def header_bytes(folder: Path) -> int:
    return 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")


@ENGINE
def test_a_budget_explains_itself_in_one_line(folder: Path) -> None:
    printed, said = bezel("run", "-m", folder, "--fit", "1GB", "-n", 2, "--json", "hello")
    record = json.loads(printed)
    assert record["chosen"] == "tiny-3n at BF16 with 512 tokens of context needs " + record["chosen"][-18:]
    assert said == f"bezel: {record['chosen']}\n"
    assert 0 < record["memory"]["resident"] <= record["memory"]["peak"] < 1 << 30
    assert "the least is tiny-3n at" in bezel("run", "-m", folder, "--fit", "20MB", "hello", status=1)[1]
    assert "write it like 3GB" in bezel("run", "-m", folder, "--fit", "lots", "hello", status=1)[1]


@ENGINE
def test_the_edge_profile_runs_and_chats(folder: Path) -> None:
    record = json.loads(bezel("run", "-m", folder, "--profile", "edge", "-n", 2, "--json", "hello")[0])
    assert record["chosen"].startswith("tiny-3n at Q8_0 with 512 tokens")
    printed, said = bezel("chat", "-m", folder, "--profile", "edge", "-n", 2, given="hello\n/memory\n/quit\n")
    assert said.startswith("bezel: tiny-3n at Q8_0")
    assert " GB now, " in printed and " GB at most" in printed
    assert "unknown profile" in bezel("run", "-m", folder, "--profile", "sea", "hello", status=1)[1]


def test_memory_is_shown_by_part(folder: Path) -> None:
    shown = json.loads(bezel("show", folder, "--memory", "--context", 300, "--json")[0])
    assert shown["context"] == 300 and shown["memory"]["weights"] < shown["memory"]["total"]
    smaller = json.loads(bezel("show", folder, "--memory", "--size", SIZE, "--json")[0])["memory"]
    assert smaller["weights"] < shown["memory"]["weights"]
    assert smaller["on disk"] == shown["memory"]["on disk"] * 3 // 4
    table = dict(line.rsplit("  ", 1) for line in bezel("show", "gemma-3n-E4B-it", "--memory")[0].splitlines())
    assert [name.strip() for name in table] == ["weights", "cache", "workspace", "interpreter", "total", "on disk"]
    e2b = bezel("show", "gemma-3n-E4B-it", "--memory", "--size", "E2B", "--json")[0]
    assert json.loads(e2b)["memory"]["total"] < 2e9
    assert "cannot be cut" in bezel("show", "gemma-3-1b-it", "--memory", "--size", "E2B", status=1)[1]
