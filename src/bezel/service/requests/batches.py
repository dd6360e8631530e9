"""The bodies of /v1/files and /v1/batches."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from bezel.service.requests.common import Body

Name = Annotated[str, Field(max_length=128)]
After = Annotated[str | None, Query(max_length=128)]
Limit = Annotated[int, Query(ge=1, le=100)]
FilesLimit = Annotated[int, Query(ge=1, le=10_000)]
Purpose = Annotated[str | None, Query(max_length=64)]


class FileRequest(Body):
    """The fields beside the file: what it is for."""

    purpose: Literal["batch"]


class BatchRequest(Body):
    """A file of lines, all for one address. There is no deadline: `completion_window` is taken and has no effect."""

    input_file_id: Name
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
