from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.live import Live


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts servers, which are stopped after the test."""
    started: list[Live] = []

    def starting(**options: Any) -> Live:
        started.append(Live(tmp_path, **options))
        return started[-1]

    yield starting
    for live in started:
        live.stop()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that counts, without limits, for tests that leave nothing behind."""
    found = Live(tmp_path_factory.mktemp("live"), rate_limit=0)
    yield found
    found.stop()
