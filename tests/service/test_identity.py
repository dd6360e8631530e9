"""Nothing is answered without a key that may: every route and method, and addresses that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.routing import Mount, Route

from bezel.errors import InvalidRequestError
from bezel.service.app import create_app
from bezel.service.scopes import OPEN, check_routes, needs, scope_of
from bezel.service.settings import ServerSettings
from bezel.testing import CounterBackend
from tests.service.live import CHAT, Live

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW")
UNKNOWN = (
    "/page",
    "/v1",
    "/v1/chat",
    "/docs",
    "/redoc",
    "/v1/models/",
    "/v1/chat/completions/",
    "//v1/models",
    "/V1/models",
    "/page/",
    "/page/index.html",
    "/page/none.js",
    "/page/app.js/",
)
PAGE = ("api", "app", "attachments", "chat", "dashboard", "dom", "markdown", "messages", "options", "plots")
OPENED = {"/health", "/ready", "/", "/page/page.css", "/page/icon.svg", *(f"/page/{name}.js" for name in PAGE)}


def paths(live: Live) -> list[str]:
    return [route.path.replace("{name:path}", "counter") for route in live.app.routes]


@pytest.mark.parametrize("method", METHODS)
def test_every_route_and_method_without_a_key_is_refused(live: Live, method: str) -> None:
    found = paths(live)
    assert len(found) >= 10
    wrong = [
        "",
        "Bearer",
        "bearer bz-wrong",
        "Bearer bz-wrong",
        "Basic " + live.secret,
        live.secret,
        "Bearer " + "x" * 5000,
    ]
    for path in [*found, *UNKNOWN]:
        if path in OPENED:
            continue
        for authorization in wrong:
            headers = {"authorization": authorization}
            response = live.client.request(method, path, headers=headers, json=CHAT if method == "POST" else None)
            assert response.status_code == 401, (method, path, authorization)
            assert response.headers["www-authenticate"] == "Bearer"
            if method != "HEAD":
                assert response.json()["error"]["code"] == "invalid_api_key"


def test_only_whether_the_server_lives_and_its_page_are_open(live: Live) -> None:
    opened = {route.path for route in live.app.routes if scope_of(route) == OPEN}
    assert opened == OPENED
    for path in OPENED:
        assert live.client.get(path, headers={"authorization": ""}).status_code == 200


def test_a_key_opens_what_its_scopes_say(live: Live) -> None:
    needed = {"/v1/models": "models", "/version": "models", "/metrics": "metrics", "/openapi.json": "models"}
    for path, scope in needed.items():
        for has in ("generate", "models", "tokenize", "metrics"):
            assert live.client.get(path, headers=live.key(has)).status_code == (200 if has == scope else 403), path
    assert live.chat(live.key("models")).json()["error"]["code"] == "insufficient_permissions"
    assert live.chat(live.key("generate")).status_code == 200


def test_what_is_not_there_is_told_to_those_with_a_key(live: Live) -> None:
    for path in UNKNOWN[:4]:
        response = live.client.get(path)
        assert response.status_code == 404 and response.json()["error"]["code"] == "unknown_url"
    response = live.client.get("/v1/chat/completions")
    assert response.status_code == 405 and response.json()["error"]["code"] == "method_not_allowed"


def test_a_revoked_or_expired_key_is_refused_at_once(live: Live) -> None:
    assert live.server.keys is not None
    secret, key = live.server.keys.create("brief", ("models",))
    assert live.client.get("/v1/models", headers=live.bearer(secret)).status_code == 200
    live.server.keys.revoke(key.id)
    assert live.client.get("/v1/models", headers=live.bearer(secret)).status_code == 401
    assert live.client.get("/v1/models", headers=live.key("models", expires=1.0)).status_code == 401


def test_a_route_without_a_scope_does_not_start(tmp_path: Path) -> None:
    async def bare() -> None: ...

    app = create_app(ServerSettings(api_key_db=str(tmp_path / "k")), {"counter": CounterBackend()})
    check_routes(app.routes)
    for route in (Route("/bare", bare), Mount("/mounted", FastAPI())):
        with pytest.raises(RuntimeError, match="declares no scope"):
            check_routes([*app.routes, route])
    app.add_api_route("/bare", bare)
    with pytest.raises(RuntimeError, match="/bare declares no scope"):
        check_routes(app.routes)
    app.state.server.close()
    with pytest.raises(ValueError, match="no scope"):
        needs("everything")


def test_without_keys_everybody_on_this_machine_is_answered(start: Callable[..., Live]) -> None:
    live = start(no_auth=True)
    assert live.server.keys is None and live.chat().status_code == 200
    assert live.chat({"authorization": "Bearer bz-any"}).status_code == 200
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(InvalidRequestError, match="let everybody in"):
            ServerSettings(host=host, no_auth=True)
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert ServerSettings(host=host, no_auth=True).loopback
