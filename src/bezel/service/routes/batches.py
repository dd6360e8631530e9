"""/v1/batches: many requests, answered when there is room."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response

from bezel.service.batches.access import Access
from bezel.service.errors import ApiError
from bezel.service.replies import batches as replies
from bezel.service.requests.batches import After, BatchRequest, Limit
from bezel.service.responses import json_response
from bezel.service.scopes import needs

router = APIRouter()
_MOST_OPEN = 32


@router.post("/v1/batches")
@needs("batches")
async def create(body: BatchRequest, request: Request) -> Response:
    """Begin a batch."""
    access = Access(request)
    await access.found(access.store.file, "no_file", body.input_file_id)
    if len(await access.call(access.store.unfinished, access.owner)) >= _MOST_OPEN:
        raise ApiError("invalid", f"{_MOST_OPEN} batches of this key have not ended yet; wait for one.")
    metadata = json.dumps(body.metadata)
    made = await access.call(access.store.add, access.owner, body.endpoint, body.input_file_id, metadata)
    access.runner.start(made)
    return json_response(replies.batch(made))


@router.get("/v1/batches")
@needs("batches")
async def listed(request: Request, after: After = None, limit: Limit = 20) -> Response:
    """The batches of the key, the latest first."""
    access = Access(request)
    found = await access.call(access.store.batches, access.owner, after, limit + 1)
    return json_response(replies.page([replies.batch(each) for each in found], limit))


@router.get("/v1/batches/{identity}")
@needs("batches")
async def retrieve(identity: str, request: Request) -> Response:
    """One of them."""
    access = Access(request)
    return json_response(replies.batch(await access.found(access.store.batch, "no_batch", identity)))


@router.post("/v1/batches/{identity}/cancel")
@needs("batches")
async def cancel(identity: str, request: Request) -> Response:
    """Begin no further line of it; what is answered is kept."""
    access = Access(request)
    await access.found(access.store.batch, "no_batch", identity)
    return json_response(replies.batch(await access.call(access.store.cancel, identity)))
