"""Files and batches as OpenAI's clients read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bezel.service.batches.store import Batch, File

_ENDED = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at"}


def file(one: File) -> dict[str, Any]:
    """A file's card."""
    about = {"id": one.id, "object": "file", "bytes": one.size, "created_at": one.created, "filename": one.name}
    return {**about, "purpose": one.purpose, "status": "processed"}


def batch(one: Batch) -> dict[str, Any]:
    """A batch's card."""
    card: dict[str, Any] = {
        "id": one.id,
        "object": "batch",
        "endpoint": one.endpoint,
        "input_file_id": one.input,
        "completion_window": "24h",
        "status": one.status,
        "created_at": one.created,
        "in_progress_at": one.started,
        "cancelling_at": one.cancelling,
        "output_file_id": one.output,
        "error_file_id": one.failures,
        "errors": json.loads(one.errors) if one.errors else None,
        "request_counts": {"total": one.total, "completed": one.completed, "failed": one.failed},
        "metadata": json.loads(one.metadata),
    }
    return card | {name: one.ended if status == one.status else None for status, name in _ENDED.items()}


def page(cards: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """`limit` of the cards at most; one more says that there are more."""
    shown = list(cards[:limit])
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return {"object": "list", "data": shown, "has_more": len(cards) > limit, **ends}
