"""Requests and tokens a minute of each key, by sliding windows; tokens are reserved before and settled after."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from bezel.errors import InvalidRequestError
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.settings import ServerSettings

_MINUTE = 60.0


@dataclass(frozen=True)
class Window:
    """Where a sliding window stands: counts of the minute before and of this one, which ends in `left` seconds."""

    limit: int
    before: int
    now: int
    left: float

    @property
    def remaining(self) -> int:
        """What is left of the limit."""
        return max(0, self.limit - math.floor(self.before * self.left / _MINUTE + self.now))

    def wait(self, cost: int) -> float:
        """Seconds after which `cost` more fits if nothing else comes: the weighted count's whole part and it do."""
        if self.now + cost <= self.limit:
            room = self.limit - cost + 1 - self.now
            return max(0.0, self.left - room * _MINUTE / self.before) if self.before else 0.0
        return self.left + _MINUTE * max(0.0, 1 - (self.limit - cost + 1) / self.now)

    @property
    def reset(self) -> float:
        """Seconds until all of the limit is there again, if nothing else comes."""
        return self.left + _MINUTE if self.now else self.left if self.before else 0.0


@dataclass
class Reservation:
    """Tokens that are taken from a key's budget until they are settled."""

    item: RateLimitItemPerMinute | None = None
    who: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    """Those of `tokens` that will be used in any case."""
    ends: float = 0.0
    """When (monotonic) the window ends in which they were taken."""


class Limits:
    """Counts for every key, in memory or in a Redis that several servers share.

    Raises InvalidRequestError where `limits_url` is none.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        """Another one holds from the next request on, but for its `limits_url`."""
        try:
            if not settings.limits_url.startswith("async+"):
                raise ValueError("a store that waits")
            self._storage: Any = storage_from_string(settings.limits_url)
            self._windows = SlidingWindowCounterRateLimiter(self._storage)
        except (ConfigurationError, ImportError, ValueError, NotImplementedError):
            raise InvalidRequestError(
                "limits_url is no store that can be used; set async+memory:// or async+redis://HOST:PORT"
            ) from None

    async def request(self, exchange: Exchange) -> None:
        """Count a request; ApiError "rate" where there were too many."""
        limit = exchange.key.rate_limit if exchange.key else None
        limit = self.settings.rate_limit if limit is None else limit
        if not limit:
            return
        item = RateLimitItemPerMinute(limit, namespace="requests")
        allowed = await self._windows.hit(item, exchange.who)
        window = await self._window(item, exchange.who)
        _tell(exchange, window, "requests")
        if not allowed:
            raise _refusal("rate", window, 1, f"{limit} requests a minute are allowed.")

    def counts_tokens(self, exchange: Exchange) -> bool:
        """Whether the caller has a budget of tokens."""
        return bool(self._token_limit(exchange))

    async def reserve(self, exchange: Exchange, tokens: int, prompt_tokens: int) -> Reservation:
        """Take `tokens`, the most that a request can need; ApiError "tokens" where they are not there."""
        limit = self._token_limit(exchange)
        if not limit:
            return Reservation()
        item = RateLimitItemPerMinute(limit, namespace="tokens")
        allowed = await self._windows.hit(item, exchange.who, cost=tokens)
        window = await self._window(item, exchange.who)
        _tell(exchange, window, "tokens")
        if tokens > limit:
            raise ApiError("tokens", f"{limit} tokens a minute are allowed and this may take {tokens}; ask for fewer.")
        if not allowed:
            raise _refusal("tokens", window, tokens, f"{limit} tokens a minute are allowed; this may take {tokens}.")
        return Reservation(item, exchange.who, tokens, prompt_tokens, time.monotonic() + window.left)

    async def settle(self, reservation: Reservation, used: int) -> None:
        """Give back what was not used.

        Where the window has ended meanwhile nothing is given back: it would be credit for what others may use.
        """
        unused = reservation.tokens - used
        if reservation.item is None or unused <= 0 or time.monotonic() >= reservation.ends:
            return
        item = reservation.item
        await self._storage.acquire_sliding_window_entry(
            item.key_for(reservation.who), item.amount, item.get_expiry(), -unused
        )

    def _token_limit(self, exchange: Exchange) -> int:
        limit = exchange.key.token_limit if exchange.key else None
        return self.settings.token_limit if limit is None else limit

    async def _window(self, item: RateLimitItemPerMinute, who: str) -> Window:
        expiry = item.get_expiry()
        before, _, now, ttl = await self._storage.get_sliding_window(item.key_for(who), expiry)
        return Window(item.amount, before, now, max(0.0, ttl - expiry))


def _tell(exchange: Exchange, window: Window, what: str) -> None:
    exchange.headers[f"x-ratelimit-limit-{what}"] = str(window.limit)
    exchange.headers[f"x-ratelimit-remaining-{what}"] = str(window.remaining)
    exchange.headers[f"x-ratelimit-reset-{what}"] = f"{window.reset:.3f}s"


def _refusal(name: str, window: Window, cost: int, detail: str) -> ApiError:
    return ApiError(name, detail, headers={"retry-after": str(math.floor(window.wait(cost)) + 1)})
