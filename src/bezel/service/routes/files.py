"""/v1/files: what batches read and write."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from bezel.service.batches.access import Access
from bezel.service.description import form
from bezel.service.errors import ApiError
from bezel.service.forms import read_form
from bezel.service.replies import batches as replies
from bezel.service.requests.batches import After, FileRequest, FilesLimit, Purpose
from bezel.service.responses import json_response
from bezel.service.scopes import FORM, needs

router = APIRouter()
_NAME = "input.jsonl"  # a client's own name of a file may say who it is about


@router.post("/v1/files", openapi_extra=form(FileRequest))
@needs("batches", takes=FORM)
async def create(request: Request) -> Response:
    """Keep a file."""
    access = Access(request)
    body, content = await read_form(request, FileRequest)
    return json_response(
        replies.file(await access.call(access.store.add_file, access.owner, _NAME, body.purpose, content))
    )


@router.get("/v1/files")
@needs("batches")
async def listed(
    request: Request,
    after: After = None,
    limit: FilesLimit = 20,
    order: Literal["asc", "desc"] = "desc",
    purpose: Purpose = None,
) -> Response:
    """The files of the key, the latest first unless `order` is asc."""
    access = Access(request)
    found = await access.call(access.store.files, access.owner, after, limit + 1, purpose, order == "asc")
    return json_response(replies.page([replies.file(each) for each in found], limit))


@router.get("/v1/files/{identity}")
@needs("batches")
async def retrieve(identity: str, request: Request) -> Response:
    """One of them."""
    access = Access(request)
    return json_response(replies.file(await access.found(access.store.file, "no_file", identity)))


@router.get("/v1/files/{identity}/content")
@needs("batches")
async def content(identity: str, request: Request) -> Response:
    """Its bytes."""
    access = Access(request)
    found = await access.found(access.store.content, "no_file", identity)
    return Response(found, media_type="application/octet-stream", headers={"content-disposition": "attachment"})


@router.delete("/v1/files/{identity}")
@needs("batches")
async def delete(identity: str, request: Request) -> Response:
    """Let go of it."""
    access = Access(request)
    if not await access.call(access.store.delete_file, access.owner, identity):
        raise ApiError("no_file")
    return json_response({"id": identity, "object": "file", "deleted": True})
