"""Threads where the user says nothing: what the processor, the affinity and the control groups allow."""

import os
from pathlib import Path

import pytest

from bezel.errors import InvalidRequestError
from bezel.settings import default_threads, processors_of_quota, usable_processors


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        ("200000 100000\n", 2),
        ("350000 100000", 3),
        ("50000 100000", 1),
        ("max 100000", None),
        ("-1\n 100000\n", None),
        ("100000 0", None),
        (" ", None),
        ("nonsense", None),
    ],
)
def test_a_quota_pays_for_whole_processors(text: str, processors: int | None) -> None:
    assert processors_of_quota(text) == processors


@pytest.mark.parametrize(
    ("groups", "files", "processors"),
    [
        ("", {}, 8),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "900000 100000", "c/cpu.max": "100000 100000"}, 8),
        (
            "4:cpu,cpuacct:/d\n3:memory:/d\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "400000", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/../../elsewhere\n", {"cpu.max": "100000 100000"}, 1),
    ],
)
def test_every_group_above_a_process_may_limit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], processors: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    written = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_processors(tmp_path) == processors


def test_the_environment_decides_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEZEL_THREADS", "7")
    assert default_threads() == 7
    for wrong in ("0", "-1", "many", "257"):
        monkeypatch.setenv("BEZEL_THREADS", wrong)
        with pytest.raises(InvalidRequestError, match="BEZEL_THREADS"):
            default_threads()
