"""No kernel without its row in `bench/kernels.py`."""

import re
from pathlib import Path

from bezel.kernels.interface import Kernels

ROWS = Path(__file__).parents[2] / "bench" / "kernel_rows"
LOADING = {"allocate", "store_rows", "load_rows"}
"""What fills matrices, which the bench of whole processes times."""


def test_every_kernel_has_a_row() -> None:
    sources = "".join(file.read_text("utf-8") for file in ROWS.glob("*.py"))
    timed = set(re.findall(r"kernels\.(\w+)[(,]", sources))
    kernels = {name for name, member in vars(Kernels).items() if callable(member) and not name.startswith("_")}
    assert kernels - LOADING - timed == set()
