"""Sliding windows in a Redis or Valkey that several servers share. Its clock is everybody's."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError

from bezel.errors import InvalidRequestError
from bezel.service.errors import ApiError
from bezel.service.windows import Taken, Window

_PREFIX = "bezel:window:"
_SECONDS = 5.0
"""After which a Redis that says nothing counts as gone."""
_CONNECTIONS = 8

# A script runs whole, so that no other server comes between what it reads and what it writes.
_AT = """
local time = redis.call('TIME')
local seconds = tonumber(time[1]) + tonumber(time[2]) / 1000000
local minute = math.floor(seconds / 60)
local left = 60 - (seconds - minute * 60)
local held = redis.call('HMGET', KEYS[1], 'minute', 'now', 'before')
local at, now, before = tonumber(held[1]) or 0, tonumber(held[2]) or 0, tonumber(held[3]) or 0
if at ~= minute then
    before = at == minute - 1 and now or 0
    now = 0
end
"""
_TAKE = (
    _AT
    + """
local limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local allowed = math.floor(before * left / 60 + now) + cost <= limit
if allowed then
    now = now + cost
    redis.call('HSET', KEYS[1], 'minute', minute, 'now', now, 'before', before)
    redis.call('EXPIRE', KEYS[1], 180)
end
return {allowed and 1 or 0, before, now, string.format('%.6f', left), minute}
"""
)
_GIVE_BACK = (
    _AT
    + """
if minute == tonumber(ARGV[1]) and at == minute then
    redis.call('HSET', KEYS[1], 'now', now - tonumber(ARGV[2]))
end
return 0
"""
)


class RedisWindows:
    """A `Store` at "redis://HOST:PORT" or "rediss://HOST:PORT". InvalidRequestError for a URL that is none."""

    def __init__(self, url: str) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_SECONDS,
                socket_timeout=_SECONDS,
                socket_connect_timeout=_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InvalidRequestError(f"limits_url is no address of a Redis: {error}") from None
        self._redis: Any = Redis.from_pool(pool)
        self._take, self._give_back = self._redis.register_script(_TAKE), self._redis.register_script(_GIVE_BACK)

    async def take(self, name: str, limit: int, cost: int) -> Taken:
        """See `Store.take`.

        Asked again where a connection broke, as all do when Redis is started anew. Should the first have been counted
        after all, then twice: on the side of the limit.
        """
        allowed, before, now, left, minute = await self._run(self._take, name, limit, cost, attempts=2)
        return Taken(bool(allowed), Window(limit, int(before), int(now), float(left)), int(minute))

    async def give_back(self, name: str, minute: int, count: int) -> None:
        """See `Store.give_back`. Asked once: given back twice it would be credit."""
        await self._run(self._give_back, name, minute, count, attempts=1)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose(close_connection_pool=True)

    async def _run(self, script: Any, name: str, *values: int, attempts: int) -> Any:
        try:
            return await script(keys=[_PREFIX + name], args=list(values))
        except RedisError as error:
            if isinstance(error, NoConnection) and attempts > 1:
                return await self._run(script, name, *values, attempts=attempts - 1)
            raise ApiError("uncounted", headers={"retry-after": "1"}) from error
