"""Files and batches: accepted once, answered once, whatever happens to the server."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from bezel.errors import StorageError
from bezel.service.batches.lines import read_lines
from bezel.service.batches.store import BatchStore
from bezel.testing import CounterBackend
from tests.service import batch_life
from tests.service.engines import CountingEmbedder
from tests.service.live import CHAT, Live, wait_until
from tests.service.test_numbers import HOSTILE, RAW

KILLS = int(os.environ.get("BEZEL_KILLS", "30"))
"""200 for the long run."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("kept")
    backends = {"counter": CounterBackend(), "embedder": CountingEmbedder()}
    options: dict[str, Any] = {"rate_limit": 0, "max_body_bytes": 1 << 20, "max_batch_lines": 50}
    found = Live(folder, backends=backends, batch_folder=str(folder / "batches"), **options)
    yield found
    found.stop()


def line(number: int, body: Any, url: str = "/v1/chat/completions", **other: Any) -> str:
    return json.dumps({"custom_id": f"c{number}", "method": "POST", "url": url, "body": body, **other})


def run(live: Live, content: str, endpoint: str = "/v1/chat/completions", until: str = "") -> Any:
    client = live.openai
    file = client.files.create(file=("me.jsonl", content.encode()), purpose="batch")
    batch: Any = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")  # type: ignore[arg-type]
    assert batch.status == "validating" and batch.request_counts.total == 0
    return ended(live, batch.id)


def ended(live: Live, identity: str) -> Any:
    client = live.openai.batches
    wait_until(lambda: client.retrieve(identity).status in ("completed", "failed", "cancelled"))
    return client.retrieve(identity)


def lines_of(live: Live, identity: str | None) -> list[Any]:
    if identity is None:
        return []
    return [json.loads(text) for text in live.openai.files.content(identity).text.splitlines()]


def test_lines_are_answered_as_requests_are(kept: Live) -> None:
    bodies = [
        {**CHAT, "max_tokens": 2, "n": 2},
        {**CHAT, "temperature": 3},
        {**CHAT, "stream": True},
        {**CHAT, "model": "x"},
    ]
    batch = run(kept, "\n".join(line(number, body) for number, body in enumerate(bodies)) + "\n\n")
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 3)
    assert batch.completed_at and batch.in_progress_at and batch.errors is None
    (good,) = lines_of(kept, batch.output_file_id)
    expected = kept.client.post("/v1/chat/completions", json=bodies[0]).json()
    found = good["response"]["body"]
    assert good["custom_id"] == "c0" and good["response"]["status_code"] == 200
    assert (found["choices"], found["usage"]) == (expected["choices"], expected["usage"])
    bad = lines_of(kept, batch.error_file_id)
    assert [(each["custom_id"], each["response"]["status_code"]) for each in bad] == [
        ("c1", 400),
        ("c2", 400),
        ("c3", 404),
    ]
    assert bad[0]["response"]["body"]["error"]["param"] == "temperature"
    logged = [each for each in kept.log() if each["request_id"].startswith("batch_req_")]
    assert {each["status"] for each in logged} == {200, 400, 404} and logged[0]["key_id"].startswith("key_")


def test_completions_and_embeddings(kept: Live) -> None:
    batch = run(kept, line(1, {"model": "counter", "prompt": "a"}, "/v1/completions"), "/v1/completions")
    assert lines_of(kept, batch.output_file_id)[0]["response"]["body"]["choices"][0]["text"] == "1 2 3 4 5"
    batch = run(kept, line(1, {"model": "embedder", "input": "a"}, "/v1/embeddings"), "/v1/embeddings")
    assert len(lines_of(kept, batch.output_file_id)[0]["response"]["body"]["data"][0]["embedding"]) == 4


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "empty_file"),
        ("\n \n", "empty_file"),
        ("{", "invalid_json_line"),
        ("[" * 100_000, "invalid_json_line"),
        (line(1, CHAT, method="GET"), "invalid_json_line"),
        ('{"custom_id": 5}', "invalid_json_line"),
        (line(1, CHAT, "/v1/files"), "mismatched_url"),
        (line(1, CHAT) + "\n" + line(1, CHAT), "duplicate_custom_id"),
        (line(1, CHAT).replace("c1", "c" * 513), "invalid_custom_id"),
        ("\n".join(line(number, CHAT) for number in range(51)), "too_many_lines"),
    ],
)
def test_a_file_that_is_not_right_is_refused_whole(kept: Live, content: str, code: str) -> None:
    batch = run(kept, content)
    assert batch.status == "failed" and batch.failed_at and batch.output_file_id is None
    assert batch.errors.data[0].code == code


def test_hostile_bodies_cost_their_line_alone(kept: Live) -> None:
    for first in range(0, len(HOSTILE + RAW), 12):
        texts = [*map(json.dumps, HOSTILE), *RAW][first : first + 12]
        content = [line(number, "@@").replace('"@@"', text) for number, text in enumerate(texts)]
        batch = run(kept, "\n".join([*content, line(99, CHAT)]))
        if batch.status == "failed":
            assert {each.code for each in batch.errors.data} == {"invalid_json_line"}
        else:
            assert [each["custom_id"] for each in lines_of(kept, batch.output_file_id)] == ["c99"]


def test_files_and_batches_belong_to_their_key(kept: Live) -> None:
    batch = run(kept, line(1, CHAT))
    other = openai.OpenAI(base_url=f"{kept.url}/v1", api_key=kept.key("batches")["authorization"][7:], max_retries=0)
    for ask in (
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.files.retrieve(batch.input_file_id),
        lambda: other.files.content(batch.output_file_id),
        lambda: other.files.delete(batch.output_file_id),
        lambda: other.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert other.files.list().data == [] and other.batches.list().data == []
    other.close()
    assert kept.client.get("/v1/files", headers=kept.key("generate", "models")).status_code == 403


def test_lists_are_in_pages(kept: Live) -> None:
    made = [kept.openai.files.create(file=b"x", purpose="batch").id for _ in range(5)]
    assert [each.id for each in kept.openai.files.list(limit=2)][:5] == made[::-1]
    assert kept.client.get("/v1/files?limit=2").json()["has_more"] is True
    assert [each.id for each in kept.openai.files.list(order="asc", limit=2, after=made[1])] == made[2:]
    assert all(each.purpose == "batch_output" for each in kept.openai.files.list(purpose="batch_output"))
    for identity in made:
        assert kept.openai.files.delete(identity).deleted
    assert kept.client.get(f"/v1/files?after={made[0]}").json()["data"] == []
    assert kept.client.get("/v1/files?purpose=vision").json()["data"] == []
    for query in ("limit=0", "limit=10001", "limit=x", f"after={'x' * 200}", f"purpose={'x' * 65}", "order=up"):
        assert kept.client.get(f"/v1/files?{query}").status_code == 400


def test_what_is_refused(kept: Live, live: Live) -> None:
    good = {"input_file_id": "file-none", "endpoint": "/v1/completions", "completion_window": "24h"}
    assert kept.client.post("/v1/batches", json=good).json()["error"]["code"] == "file_not_found"
    for name in (*good, "metadata", "other"):
        for text in [json.dumps(value) for value in HOSTILE] + RAW:
            body = json.dumps({**good, name: "@@"}).replace('"@@"', text)
            response = kept.client.post("/v1/batches", content=body, headers={"content-type": "application/json"})
            assert response.status_code in (400, 404), text[:80]
    for fields in ({}, {"purpose": "vision"}, {"purpose": "batch", "x": "y"}):
        assert kept.client.post("/v1/files", data=fields, files={"file": b"x"}).status_code == 400
    assert kept.client.post("/v1/files", data={"purpose": "batch"}, files={"file": b"x" * (1 << 20)}).status_code == 413
    for path in ("/v1/files", "/v1/batches", "/v1/files/a/content"):
        assert live.client.get(path).json()["error"]["code"] == "not_configured"


def test_a_batch_may_be_cancelled_and_keeps_what_it_has(start: Callable[..., Live], tmp_path: Path) -> None:
    gate = threading.Event()
    backend = CounterBackend(gate=gate)
    live = start(backends={"counter": backend}, batch_folder=str(tmp_path / "b"), max_num_seqs=4)
    file = live.openai.files.create(file="\n".join(line(n, CHAT) for n in range(9)).encode(), purpose="batch")
    batch = live.openai.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )
    wait_until(lambda: backend.running == 2)
    assert live.lanes().running == 2, "half of the lanes"
    assert live.openai.batches.cancel(batch.id).status == "cancelling"
    gate.set()
    done = ended(live, batch.id)
    assert done.status == "cancelled" and done.cancelled_at and done.cancelling_at and done.metadata == {"a": "b"}
    assert len(lines_of(live, done.output_file_id)) == done.request_counts.completed < 9
    assert live.openai.batches.cancel(batch.id).status == "cancelled"


def test_a_revoked_key_ends_its_batches(start: Callable[..., Live], tmp_path: Path) -> None:
    gate = threading.Event()
    backend = CounterBackend(gate=gate)
    live = start(backends={"counter": backend}, batch_folder=str(tmp_path / "b"), max_num_seqs=2)
    file = live.openai.files.create(file="\n".join(line(n, CHAT) for n in range(5)).encode(), purpose="batch")
    batch = live.openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    wait_until(lambda: backend.running == 1)
    keys, store = live.server.keys, live.server.batches
    assert keys is not None and store is not None
    keys.revoke(keys.list()[0].id)
    gate.set()
    wait_until(lambda: store.named(batch.id).status == "failed")
    assert "invalid_api_key" in (store.named(batch.id).errors or "") and store.named(batch.id).completed <= 1


def test_a_full_disk_is_waited_for(start: Callable[..., Live], tmp_path: Path) -> None:
    gate = threading.Event()
    backend = CounterBackend(gate=gate)
    live = start(backends={"counter": backend}, batch_folder=str(tmp_path / "b"), max_num_seqs=2)
    store: Any = live.server.batches
    file = live.openai.files.create(file="\n".join(line(n, CHAT) for n in range(20)).encode(), purpose="batch")
    batch = live.openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    wait_until(lambda: backend.running == 1)
    pages = store._rows("PRAGMA page_count")[0][0]
    store._rows(f"PRAGMA max_page_count = {pages}")
    refused = live.client.post("/v1/files", data={"purpose": "batch"}, files={"file": b"x" * 100_000})
    assert refused.status_code == 507 and refused.json()["error"]["code"] == "storage_error"
    gate.set()
    time.sleep(0.5)
    assert store.named(batch.id).status == "in_progress" and live.chat().status_code == 200
    store._rows("PRAGMA max_page_count = 100000")
    done = ended(live, batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 20)
    assert backend.produced == 21 * 5, "no answer was made twice"


def test_no_more_is_kept_than_the_settings_say(start: Callable[..., Live], tmp_path: Path) -> None:
    live = start(batch_folder=str(tmp_path / "b"), max_stored_bytes=2_000)
    first = live.openai.files.create(file=b"x" * 1_500, purpose="batch")
    with pytest.raises(openai.InternalServerError, match="storage"):
        live.openai.files.create(file=b"x" * 501, purpose="batch")
    live.openai.files.delete(first.id)
    live.openai.files.create(file=b"x" * 2_000, purpose="batch")


def test_batches_need_a_budget_and_wait_for_it(start: Callable[..., Live], tmp_path: Path) -> None:
    live = start(batch_folder=str(tmp_path / "b"), token_limit=20)
    batch = run(live, "\n".join([line(1, {**CHAT, "max_tokens": 5}), line(2, {**CHAT, "max_tokens": 50})]))
    assert batch.request_counts.completed == 1
    (bad,) = lines_of(live, batch.error_file_id)
    assert bad["response"]["status_code"] == 429, "it can never fit"


def test_one_process_has_a_folder(tmp_path: Path) -> None:
    store = BatchStore(tmp_path, 1 << 20)
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=batch_life.live, args=(str(tmp_path), str(tmp_path / "notes")))
    child.start()
    child.join(30)
    assert child.exitcode == 1
    store.close()
    BatchStore(tmp_path, 1 << 20).close()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="name another"):
        BatchStore(tmp_path / "file" / "b", 1 << 20)


def test_kill_9_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    rng, context = random.Random(9), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.service.batch_life"])
    folder, notes = tmp_path / "batches", tmp_path / "notes"
    notes.touch()
    batches, count, kills, finished = list[str](), max(20, KILLS * 8), 0, set[str]()

    def add() -> None:
        store = BatchStore(folder, 1 << 30)
        file = store.add_file("everybody", "in", "batch", batch_life.input_lines(len(batches) * count, count))
        batches.append(store.add("everybody", "/v1/completions", file.id, "null").id)
        store.close()

    for _ in range(3):
        add()
    while True:
        seen = len(notes.read_text().splitlines())
        child = context.Process(target=batch_life.live, args=(str(folder), str(notes)))
        child.start()
        child.join(rng.uniform(0.05, 0.35) if kills < KILLS else 120)
        alive = child.is_alive()
        if alive:
            child.kill()
            child.join()
            kills += 1
        again = finished & set(notes.read_text().splitlines()[seen:])
        assert not again, "lines with a result were done again"
        if not alive:
            assert child.exitcode == 0
            if kills >= KILLS:
                break
            add()  # all was done before there were enough
            continue
        with sqlite3.connect(folder / "batches.sqlite3") as base:
            rows = base.execute("SELECT custom_id FROM lines WHERE result IS NOT NULL").fetchall()
        base.close()
        finished = {f"p{row[0][1:]}" for row in rows}
    store = BatchStore(folder, 1 << 30)
    for place, identity in enumerate(batches):
        batch = store.named(identity)
        numbers = range(place * count, (place + 1) * count)
        assert (batch.status, batch.total, batch.completed + batch.failed) == ("completed", count, count)
        good, bad = (
            [json.loads(text) for text in (store.content("everybody", name or "") or b"").splitlines()]
            for name in (batch.output, batch.failures)
        )
        assert [each["custom_id"] for each in good] == [f"c{n}" for n in numbers if n % 10 != 9]
        assert [each["custom_id"] for each in bad] == [f"c{n}" for n in numbers if n % 10 == 9]
        for each in good:
            said = each["response"]["body"]["choices"][0]["text"]
            assert said == " ".join(map(str, range(1, int(each["custom_id"][1:]) % 5 + 2)))
    store.close()


def test_reading_lines_does_not_depend_on_how_they_end() -> None:
    texts = [line(number, CHAT) for number in range(3)]
    for end in ("\n", "\r\n"):
        found, errors = read_lines(end.join(texts).encode(), "/v1/chat/completions", 3)
        assert [custom for custom, _ in found] == ["c0", "c1", "c2"] and not errors
