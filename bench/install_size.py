"""What an installation weighs: megabytes downloaded, and megabytes of files in an environment of its own.

    python bench/install_size.py            # the core
    python bench/install_size.py serve,av   # with extras

Prints both, then the largest packages. Neither pip nor setuptools, which the environment has already, is counted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def megabytes(files: Iterable[Path]) -> float:
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main(extras: str = "") -> None:
    wanted = f"{PROJECT}[{extras}]" if extras else str(PROJECT)
    with tempfile.TemporaryDirectory() as folder:
        environment, wheels = Path(folder, "environment"), Path(folder, "wheels")
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet"]
        packages = next((environment / "lib").glob("python*/site-packages"))
        before = set(packages.iterdir())
        subprocess.run([*pip, "wheel", "--wheel-dir", str(wheels), wanted], check=True)
        subprocess.run(
            [*pip, "install", "--no-index", "--find-links", str(wheels), *map(str, wheels.iterdir())], check=True
        )
        added = {entry: megabytes([entry, *entry.rglob("*")]) for entry in packages.iterdir() if entry not in before}
        print(f"downloaded {megabytes(wheels.iterdir()):.0f} MB, on disk {sum(added.values()):.0f} MB")
        for entry in sorted(added, key=added.__getitem__, reverse=True)[:10]:
            print(f"{added[entry]:6.1f} {entry.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
