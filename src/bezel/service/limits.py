"""Requests and tokens a minute of each key, by sliding windows; tokens are reserved before and settled after."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bezel.errors import InvalidRequestError, MissingExtraError
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.settings import ServerSettings
from bezel.service.windows import Memory, Store, Window

_MEMORY = "async+memory://"
_REDIS = ("async+redis://", "async+rediss://")


@dataclass(frozen=True)
class Reservation:
    """Tokens that are taken from a key's budget until they are settled; none where there is no budget."""

    name: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    """Those of `tokens` that will be used in any case."""
    minute: int = 0
    """In which they were taken."""
    counted: bool = True
    """False where `prompt_tokens` is the most that it can be."""


class Limits:
    """Counts for every key, in memory or in a Redis that several servers share.

    Where the counts cannot be reached nobody is let in: ApiError "uncounted". Raises InvalidRequestError where
    `limits_url` is none.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        """Another one holds from the next request on, but for its `limits_url`."""
        self._store = _store(settings.limits_url)
        self.unsettled = 0
        """Tokens that should have been given back while the counts could not be reached."""

    async def request(self, exchange: Exchange) -> None:
        """Count a request; ApiError "rate" where there were too many."""
        limit = exchange.key.rate_limit if exchange.key else None
        limit = self.settings.rate_limit if limit is None else limit
        if not limit:
            return
        taken = await self._store.take(f"requests:{exchange.who}", limit, 1)
        _tell(exchange, taken.window, "requests")
        if not taken.allowed:
            raise _refusal("rate", taken.window, 1, f"{limit} requests a minute are allowed.")

    def counts_tokens(self, exchange: Exchange) -> bool:
        """Whether the caller has a budget of tokens."""
        return bool(self._token_limit(exchange))

    async def reserve(self, exchange: Exchange, tokens: int, prompt_tokens: int, counted: bool = True) -> Reservation:
        """Take `tokens`, the most that a request can need; ApiError "tokens" where they are not there."""
        limit = self._token_limit(exchange)
        if not limit:
            return Reservation()
        name = f"tokens:{exchange.who}"
        taken = await self._store.take(name, limit, tokens)
        _tell(exchange, taken.window, "tokens")
        if tokens > limit:
            raise ApiError("tokens", f"{limit} tokens a minute are allowed and this may take {tokens}; ask for fewer.")
        if not taken.allowed:
            detail = f"{limit} tokens a minute are allowed; this may take {tokens}."
            raise _refusal("tokens", taken.window, tokens, detail)
        return Reservation(name, tokens, prompt_tokens, taken.minute, counted)

    async def settle(self, reservation: Reservation, used: int) -> None:
        """Give back what was not used, where its minute has not ended: later it would be credit that nobody had.

        Where the counts cannot be reached it stays taken, and `unsettled` says so: the answer itself is whole.
        """
        unused = reservation.tokens - used
        if unused <= 0:
            return
        try:
            await self._store.give_back(reservation.name, reservation.minute, unused)
        except ApiError:
            self.unsettled += unused

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()

    def _token_limit(self, exchange: Exchange) -> int:
        limit = exchange.key.token_limit if exchange.key else None
        return self.settings.token_limit if limit is None else limit


def _store(url: str) -> Store:
    if url == _MEMORY:
        return Memory()
    if not url.startswith(_REDIS) or url in _REDIS:
        raise InvalidRequestError(
            "limits_url is no store that can be used; set async+memory:// or async+redis://HOST:PORT"
        )
    try:
        from bezel.service.redis_windows import RedisWindows
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; run: pip install 'bezel[redis]'") from None
    return RedisWindows(url.removeprefix("async+"))


def _tell(exchange: Exchange, window: Window, what: str) -> None:
    exchange.headers[f"x-ratelimit-limit-{what}"] = str(window.limit)
    exchange.headers[f"x-ratelimit-remaining-{what}"] = str(window.remaining)
    exchange.headers[f"x-ratelimit-reset-{what}"] = f"{window.reset:.3f}s"


def _refusal(name: str, window: Window, cost: int, detail: str) -> ApiError:
    return ApiError(name, detail, headers={"retry-after": str(math.floor(window.wait(cost)) + 1)})
