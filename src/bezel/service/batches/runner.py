"""Works through the batches that have not ended, also those that an earlier process has left."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from bezel.errors import StorageError
from bezel.service.batches.lines import answer, read_lines
from bezel.service.batches.store import Batch, BatchStore
from bezel.service.errors import ApiError, told
from bezel.service.exchange import Exchange
from bezel.service.keys import Key
from bezel.service.server import Server

Result = TypeVar("Result")
EVERYBODY = "everybody"
"""The owner where there are no keys."""
_LONGEST_WAIT = 30.0
_MOST_LOSSES = 2
"""So often a line is begun anew after its engine ended; the next time it counts as the cause."""


class Ended(Exception):
    """A batch shall begin no further line: it ends with `status`."""

    def __init__(self, status: str, errors: str | None = None) -> None:
        super().__init__(status)
        self.status, self.errors = status, errors


class Runner:
    """Half of the lanes of a model are taken by lines of batches at most, whatever batch they are of."""

    def __init__(self, server: Server, store: BatchStore) -> None:
        self._server, self._store = server, store
        self._room = asyncio.Semaphore(max(1, server.settings.max_num_seqs // 2))
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, batch: Batch) -> None:
        """Work through a batch."""
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Leave everything as it stands; lines that run are done again by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, batch: Batch) -> None:
        try:
            if batch.status == "validating":
                await self._validate(batch)
            await self._lines(batch)
            await self._check_cancelled(batch)
            await self._persist(self._store.end, batch.id, "completed")
        except Ended as ended:
            await self._persist(self._store.end, batch.id, ended.status, ended.errors)
        except Exception as error:  # of ours: the log has its place
            exchange, refused = Exchange(f"req_{secrets.token_hex(12)}", "POST", route="/v1/batches"), told(error)
            exchange.failed(error, refused)
            self._server.note(exchange)
            await self._persist(self._store.end, batch.id, "failed", _listed(refused))

    async def _validate(self, batch: Batch) -> None:
        content = await self._call(self._store.content, batch.owner, batch.input)
        if content is None:
            raise Ended("failed", _listed(ApiError("no_file", param="input_file_id")))
        most = self._server.settings.max_batch_lines
        lines, errors = await self._call(read_lines, content, batch.endpoint, most)
        if errors:
            raise Ended("failed", _json_list(errors))
        await self._persist(self._store.begin, batch.id, lines)

    async def _lines(self, batch: Batch) -> None:
        pending = await self._call(self._store.pending, batch.id)
        running: set[asyncio.Task[None]] = set()
        try:
            for number in pending:
                await self._room.acquire()
                line = asyncio.get_running_loop().create_task(self._line(batch, number))
                line.add_done_callback(lambda _: self._room.release())
                running.add(line)
                done = {each for each in running if each.done()}
                running -= done
                for each in done:
                    each.result()
            for each in running:
                await each
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _line(self, batch: Batch, number: int) -> None:
        custom_id, body = await self._call(self._store.line, batch.id, number)
        losses = 0
        while True:
            key = await self._may_go_on(batch)
            try:
                result, good = await answer(
                    self._server, key, batch.endpoint, custom_id, body, again=losses < _MOST_LOSSES
                )
                break
            except ApiError as error:
                losses += error.name == "engine_lost"
                await asyncio.sleep(min(_LONGEST_WAIT, float(error.headers.get("retry-after", "1"))))
        await self._persist(self._store.finish, batch.id, number, result, good)

    async def _may_go_on(self, batch: Batch) -> Key | None:
        """The owner's key; raises Ended where the batch was cancelled, or the key may no longer do this."""
        await self._check_cancelled(batch)
        if self._server.keys is None:
            return None
        key = await self._call(self._server.keys.usable, batch.owner)
        if key is None or "batches" not in key.scopes:
            raise Ended("failed", _listed(ApiError("bad_key")))
        return key

    async def _check_cancelled(self, batch: Batch) -> None:
        if (await self._call(self._store.named, batch.id)).status == "cancelling":
            raise Ended("cancelled")

    async def _persist(self, change: Callable[..., object], *values: object) -> None:
        """Write, and where there is no room wait for it: an answer that was found is not thrown away."""
        wait = 0.1
        while True:
            try:
                await self._call(change, *values)
                return
            except StorageError:
                await asyncio.sleep(wait)
                wait = min(_LONGEST_WAIT, 2 * wait)

    async def _call(self, work: Callable[..., Result], *values: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._server.side, work, *values)


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """While a server runs, so do its batches."""
    if server.batches is None:
        yield
        return
    server.runner = runner = Runner(server, server.batches)
    for batch in server.batches.unfinished():
        runner.start(batch)
    yield
    await runner.stop()


def _listed(error: ApiError) -> str:
    return _json_list([{"code": error.kind.code, "line": None, "message": error.kind.message, "param": error.param}])


def _json_list(errors: list[dict[str, Any]]) -> str:
    return msgspec.json.encode({"object": "list", "data": errors}).decode()
