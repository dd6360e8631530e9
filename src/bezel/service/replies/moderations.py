"""Moderations as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bezel.service.replies.common import new_id

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
"""OpenAI's, which its clients expect to be there."""


@dataclass
class Finding:
    """What was found in one input. A category that nothing judged has no entry in `applied`."""

    scores: dict[str, float] = field(default_factory=dict)
    flagged: dict[str, bool] = field(default_factory=dict)
    applied: dict[str, list[str]] = field(default_factory=dict)

    def add(self, category: str, score: float, flagged: bool, kind: str) -> None:
        """Of a text or an image (`kind`): the highest score counts."""
        self.scores[category] = max(score, self.scores.get(category, 0.0))
        self.flagged[category] = flagged or self.flagged.get(category, False)
        kinds = self.applied.setdefault(category, [])
        if kind not in kinds:
            kinds.append(kind)


def moderation(model: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The reply: OpenAI's categories, and what else was judged."""
    return {"id": new_id("modr"), "model": model, "results": [_result(finding) for finding in findings]}


def _result(finding: Finding) -> dict[str, Any]:
    names = dict.fromkeys((*CATEGORIES, *finding.scores))
    return {
        "flagged": any(finding.flagged.values()),
        "categories": {name: finding.flagged.get(name, False) for name in names},
        "category_scores": {name: finding.scores.get(name, 0.0) for name in names},
        "category_applied_input_types": {name: finding.applied.get(name, []) for name in names},
    }
