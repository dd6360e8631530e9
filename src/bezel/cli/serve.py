"""`bezel serve MODEL...`: models behind an OpenAI-compatible server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.cli.extras import explained
from bezel.errors import InvalidRequestError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bezel.backends.interface import Backend
    from bezel.monitor.quality import Judge
    from bezel.monitor.settings import MonitorSettings
    from bezel.safety.content import ContentPolicy
    from bezel.safety.guard import Guard
    from bezel.safety.settings import PolicySettings
    from bezel.service.reloading import AllSettings, Reread
    from bezel.service.settings import ServerSettings
    from bezel.service.tracing import Tracing


def serve(
    models: Annotated[list[str] | None, Argument(help="Models: tiny, hub names, paths. Default: tiny.")] = None,
    host: Annotated[str | None, Option(help="Address to listen on; default: 127.0.0.1, this machine.")] = None,
    port: Annotated[int | None, Option(help="Port; default: 8000. 0 takes a free one.")] = None,
    no_auth: Annotated[
        bool | None, Option("--no-auth", help="Answer everybody, without keys; only on a loopback address.")
    ] = None,
    api_key_db: Annotated[str | None, Option(help="File of the keys that `bezel keys` makes.")] = None,
    allowed_hosts: Annotated[
        list[str] | None, Option(help="Name that a Host header may give; may be given several times, * is any.")
    ] = None,
    allowed_origins: Annotated[
        list[str] | None, Option(help="Origin of web pages that may ask (CORS); may be given several times.")
    ] = None,
    ssl_certfile: Annotated[str | None, Option(help="Certificate, for TLS.")] = None,
    ssl_keyfile: Annotated[str | None, Option(help="Its key.")] = None,
    max_num_seqs: Annotated[int | None, Option(help="Answers of a model at once; default: 8.")] = None,
    max_queue: Annotated[int | None, Option(help="Requests that wait for a model; default: 64.")] = None,
    rate_limit: Annotated[int | None, Option(help="Requests a minute and key; default: 600, 0 is no limit.")] = None,
    token_limit: Annotated[int | None, Option(help="Tokens a minute and key; default: 0, no limit.")] = None,
    limits_url: Annotated[
        str | None, Option(help="Where counts are kept: async+redis://HOST:PORT; default: in memory.")
    ] = None,
    batch_folder: Annotated[
        str | None, Option(help="Folder of files and batches; default: none, and neither is taken.")
    ] = None,
    log_level: Annotated[
        str | None, Option(help="Requests that are logged: info (all, the default), warning, error.")
    ] = None,
    tracing: Annotated[
        bool | None,
        Option("--tracing", help="Send OpenTelemetry spans of requests to models, as OTEL_... say; no content."),
    ] = None,
    engine_process: Annotated[
        bool | None,
        Option(
            "--engine-process/--no-engine-process",
            help="Run the native engine in a process of its own, which is started again when it crashes; default: yes.",
        ),
    ] = None,
    rules: Annotated[str | None, Option(help="TOML file of rules that block, redact or flag texts.")] = None,
    personal_data: Annotated[
        list[str] | None,
        Option(help="Personal data to redact: email, phone, iban, card, ip, ssn or all; several times."),
    ] = None,
    active_html: Annotated[
        str | None, Option(help="HTML in requests that could run something: keep (the default), remove, block.")
    ] = None,
    guard: Annotated[
        list[str] | None,
        Option(help="ShieldGemma that judges requests and answers; a ShieldGemma 2 judges images."),
    ] = None,
    backend: options.Backend = "native",
    base_url: options.BaseUrl = None,
    device: options.Device = None,
    level: options.Level = None,
    context: options.Context = None,
    threads: options.Threads = None,
    draft: options.Draft = None,
    cache_type: options.CacheType = "f16",
    size: options.Size = None,
    fit: options.Fit = None,
    profile: options.Profile = None,
    mmproj: options.Mmproj = None,
) -> None:
    """Serve models with OpenAI's API. Every setting may stand in [serve] of bezel.toml or in BEZEL_... too."""
    with explained("serve"):
        import uvicorn

        from bezel.monitor.settings import MonitorSettings
        from bezel.safety.content import ContentPolicy
        from bezel.safety.settings import PolicySettings
        from bezel.service.listening import configuration
        from bezel.service.reloading import AllSettings
        from bezel.service.settings import ServerSettings
    from bezel.settings import read_settings

    flags = {
        "host": host,
        "port": port,
        "no_auth": no_auth,
        "api_key_db": api_key_db,
        "allowed_hosts": allowed_hosts or None,
        "allowed_origins": allowed_origins or None,
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile": ssl_keyfile,
        "max_num_seqs": max_num_seqs,
        "max_queue": max_queue,
        "rate_limit": rate_limit,
        "token_limit": token_limit,
        "limits_url": limits_url,
        "batch_folder": batch_folder,
        "engine_process": engine_process,
        "log_level": log_level,
        "tracing": tracing,
    }

    looked_for = {"rules": rules, "personal_data": personal_data or None, "active_html": active_html}

    def reread() -> AllSettings:
        return AllSettings(
            read_settings(ServerSettings, "serve", flags),
            read_settings(MonitorSettings, "monitor", {}),
            read_settings(PolicySettings, "policy", looked_for | {"guard": guard or None}),
        )

    loading = options.given(
        level=level,
        context=context,
        threads=threads,
        draft=draft,
        size=size,
        fit=fit,
        profile=profile,
        mmproj=mmproj,
        backend=backend,
        base_url=base_url,
        device=device,
    )
    told = reread()
    _check_keys(told.serve)
    policy = ContentPolicy.of(told.policy)
    with _bound(told.serve) as listening:  # before minutes go by with loading
        app = _application(models or ["tiny"], told, policy, reread, loading | {"cache": cache_type}, threads)
        server = app.state.server
        config = configuration(app, server.settings)
        with _address_errors(server.settings):
            listening.listen(config.backlog)  # who reads the line below may come at once
        _say(server.settings, list(server.models), listening.getsockname()[1])
        uvicorn.Server(config).run([listening])


def _bound(settings: ServerSettings) -> socket.socket:
    """A socket at the server's address that does not listen yet. Raises as `_address_errors`."""
    bound = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server that just ended linger
        with _address_errors(settings):
            bound.bind((settings.host, settings.port))
    except BaseException:
        bound.close()
        raise
    return bound


@contextmanager
def _address_errors(settings: ServerSettings) -> Iterator[None]:
    """InvalidRequestError that names the port, where the system does not give it."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequestError(
            f"port {settings.port} of {settings.host} cannot be listened on ({reason}); name another --port, or --host"
        ) from None


def _application(
    models: list[str],
    told: AllSettings,
    policy: ContentPolicy,
    reread: Reread,
    loading: dict[str, Any],
    threads: int | None,
) -> FastAPI:
    """The server with its models, and those that judge, loaded."""
    from bezel.service.app import create_app

    settings = told.serve
    tracing = _tracing() if settings.tracing else None
    judge = _judge(told.monitor)
    loading |= {"sequences": settings.max_num_seqs}
    apart = settings.engine_process and loading.get("backend", "native") == "native"
    backends = {name: _opened(apart, model=name, **loading) for name in models}
    if told.policy.guard:
        policy = replace(policy, guard=_guard(told.policy, threads))
    return create_app(
        settings, backends, watched=told.monitor, reread=reread, tracing=tracing, policy=policy, judge=judge
    )


def _judge(settings: MonitorSettings) -> Judge:
    """What scores answers. Raises as `read_references` and `open_backend`."""
    from pathlib import Path

    from bezel.backends.interface import Embedder
    from bezel.monitor.quality import Judge, read_references

    references = read_references(Path(settings.quality_references)) if settings.quality_references else None
    name = settings.quality_embedder
    if not name:
        return Judge(references=references)
    from bezel.backends.opening import open_backend

    embedder = open_backend(name)
    if not isinstance(embedder, Embedder):
        raise InvalidRequestError(f"quality_embedder is {name}, which embeds nothing; name google/embeddinggemma-300m")
    known = embedder.describe().get("tasks", ())
    question, answer = (task if task in known else None for task in ("query", "document"))
    return Judge(embedder, name, question, answer, references)


def _tracing() -> Tracing:
    with explained("otel"):
        from bezel.service.tracing import Tracing

        return Tracing.from_environment()


def _opened(apart: bool, **loading: Any) -> Backend:
    """A backend here, or in a process of its own, whose libraries are then not loaded here too."""
    if apart:
        from bezel.backends.child.backend import open_child

        return open_child(**loading)
    from bezel.backends.opening import open_backend

    return open_backend(**loading)


def _guard(settings: PolicySettings, threads: int | None) -> Guard:
    """The models that judge, loaded beside those that answer."""
    from bezel.api import load
    from bezel.safety.guard import Guard

    judges = {name: load(name, threads=threads, sequences=1) for name in settings.guard}
    return Guard.of(judges, settings.guard_threshold, settings.guard_policies)


def _check_keys(settings: ServerSettings) -> None:
    """InvalidRequestError where nobody could ask; said aloud where everybody may."""
    from pathlib import Path

    from bezel.service.keys import KeyStore

    if settings.no_auth:
        print(
            f"bezel: WARNING: no keys are asked for; every program and user of this machine may use {settings.host}",
            file=sys.stderr,
        )
        return
    found, file = False, Path(settings.api_key_db)
    if file.exists():  # a name that was mistyped shall not become a file
        keys = KeyStore(file)
        found = any(key.revoked is None for key in keys.list())
        keys.close()
    if not found:
        raise InvalidRequestError(
            f"{settings.api_key_db} has no API key; create one with `bezel keys create NAME`, or try things out on "
            "this machine alone with --no-auth"
        )


def _say(settings: ServerSettings, names: list[str], port: int) -> None:
    scheme = "https" if settings.ssl_certfile else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"bezel: {', '.join(names)} at {scheme}://{host}:{port}/v1, the page at /", file=sys.stderr)
