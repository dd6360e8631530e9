"""Whose files and batches a request may see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request

from bezel.service.batches.runner import EVERYBODY
from bezel.service.batches.store import BatchStore
from bezel.service.errors import ApiError
from bezel.service.exchange import exchange_of
from bezel.service.server import server_of

Result = TypeVar("Result")


class Access:
    """The store, for the owner that a request's key is. ApiError "not_kept" where there is none."""

    def __init__(self, request: Request) -> None:
        server, exchange = server_of(request), exchange_of(request.scope)
        if server.batches is None or server.runner is None:
            raise ApiError("not_kept", "To take files and batches, name a --batch-folder.")
        self.owner = exchange.key.id if exchange.key else EVERYBODY
        self.store: BatchStore = server.batches
        self.runner, self._side = server.runner, server.side

    async def call(self, work: Callable[..., Result], *values: Any) -> Result:
        """What a method of the store gives back, on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._side, work, *values)

    async def found(self, work: Callable[..., Result | None], name: str, *values: Any) -> Result:
        """What a method finds for the owner. ApiError `name` where there is nothing."""
        result = await self.call(work, self.owner, *values)
        if result is None:
            raise ApiError(name)
        return result
