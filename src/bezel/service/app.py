"""The application: what a request passes through, from the outside to the model.

The layers below see every request; then a route checks its body, and `answers.py` goes on: reserve tokens, wait for a
lane, run the model, settle the tokens. `layers/observing.py` writes the log at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from bezel import __version__
from bezel.backends.interface import Backend
from bezel.monitor.quality import Judge
from bezel.monitor.settings import MonitorSettings
from bezel.safety.content import ContentPolicy
from bezel.service.batches.runner import running
from bezel.service.layers.bodies import Bodies
from bezel.service.layers.hosts import Hosts
from bezel.service.layers.identity import Identity
from bezel.service.layers.kinds import Kinds
from bezel.service.layers.observing import Observing
from bezel.service.layers.rates import Rates
from bezel.service.refusals import handle_errors
from bezel.service.reloading import Reread, on_hangup, reload
from bezel.service.routes import (
    audio,
    batches,
    chat,
    completions,
    embeddings,
    files,
    models,
    moderations,
    monitor,
    ollama,
    page,
    responses,
    state,
    tokens,
)
from bezel.service.scopes import check_routes
from bezel.service.server import Server
from bezel.service.settings import ServerSettings

if TYPE_CHECKING:
    from bezel.service.tracing import Tracing


def layers(server: Server) -> list[Middleware]:
    """The security design, as far as it needs no body: the first sees a request first and its answer last."""
    origins = server.settings.allowed_origins
    pages = [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # clients send many of their own; a key is none that a browser adds by itself
            expose_headers=["x-request-id", "retry-after", "x-bezel-input-changes"],
        )
    ]
    return [
        Middleware(Observing, server),  # id, headers, metrics, log; errors that nobody foresaw
        Middleware(Hosts, server),
        *(pages if origins else ()),
        Middleware(Bodies, server),  # size, time
        Middleware(Identity, server),  # key and scope
        Middleware(Rates, server),  # requests a minute
        Middleware(Kinds),  # media type
    ]


def create_app(
    settings: ServerSettings,
    backends: Mapping[str, Backend],
    log: TextIO | None = None,
    watched: MonitorSettings | None = None,
    reread: Reread | None = None,
    tracing: Tracing | None = None,
    policy: ContentPolicy | None = None,
    judge: Judge | None = None,
) -> FastAPI:
    """An ASGI application that serves backends by their names; `log` None is standard error.

    `reread` gives the settings as they stand now; while the application runs on the main thread SIGHUP has them hold.
    `judge` scores the share of answers that `watched` says.
    Requests to models are traced where there is `tracing`, which it closes.
    Where it ends so do those backends that are processes (`Supervised`).

    Raises InvalidRequestError and StorageError for settings that cannot be used, RuntimeError for a route without a
    scope, which is found again when the application starts.
    """
    server = Server(settings, backends, int(time.time()), log, watched, tracing, policy, judge)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        check_routes(app.routes)
        watching = asyncio.ensure_future(server.watch.keep(server.side))
        async with running(server):
            with on_hangup(partial(reload, server, reread) if reread else None):
                yield
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await server.limits.close()
        server.close()

    app = FastAPI(
        title="bezel",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=layers(server),
    )
    app.state.server = server
    inference = (chat, completions, responses, ollama, embeddings, audio, files, batches, moderations)
    for part in (*inference, models, tokens, state, monitor, page):
        app.router.routes.extend(part.router.routes)
    handle_errors(app)
    check_routes(app.routes)
    return app
