"""Texts and images before those who judge them: rules, and the guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from bezel.safety.classifier import Verdict
from bezel.safety.content import HTML_RULE, ContentPolicy
from bezel.safety.markup import active
from bezel.service.errors import ApiError
from bezel.service.lanes import Lanes
from bezel.service.replies.moderations import Finding
from bezel.service.requests.chat import ImagePart
from bezel.service.work import Effort

Inputs: TypeAlias = Sequence[Sequence[str | ImagePart]]
"""For each result, what it is about."""
_OPENAIS = ("omni-moderation-", "text-moderation-")
_RULES = "rules"


class Judges:
    """Those of a policy; a place to work at, since a guard judges one thing after another."""

    def __init__(self, policy: ContentPolicy, lanes: Lanes) -> None:
        self._policy, self.lanes = policy, lanes
        self.name = policy.guard.name if policy.guard is not None else _RULES

    def check_name(self, model: str | None) -> None:
        """ApiError "no_model" for a name that is neither theirs nor OpenAI's."""
        if model not in (None, self.name) and not str(model).startswith(_OPENAIS):
            raise ApiError("no_model", param="model")

    def check(self, inputs: Inputs) -> None:
        """ApiError "not_kept" where nobody judges what is sent."""
        policy, guard = self._policy, self._policy.guard
        kinds = {type(each) for together in inputs for each in together}
        if str in kinds and not policy.rules and policy.html == "keep" and (guard is None or guard.texts is None):
            raise ApiError(
                "not_kept", "To judge texts, name --guard google/shieldgemma-2b, --rules FILE or --personal-data all."
            )
        if ImagePart in kinds and (guard is None or guard.images is None):
            raise ApiError("not_kept", "To judge images, name --guard google/shieldgemma-2-4b-it.")

    def tokens(self, inputs: Inputs) -> int:
        """What the guard reads of texts."""
        classifier = self._policy.guard.texts if self._policy.guard is not None else None
        if classifier is None:
            return 0
        return sum(classifier.token_count(each) for together in inputs for each in together if isinstance(each, str))

    def judge(self, inputs: Inputs, effort: Effort) -> list[Finding]:
        """A finding for each. Raises as `Guard.text` and `Guard.image`, and as `Effort.check`."""
        findings = []
        for together in inputs:
            finding = Finding()
            for each in together:
                effort.check()
                if isinstance(each, str):
                    self._text(each, finding)
                    effort.prompt_tokens += self.tokens([[each]])
                else:
                    self._image(each, finding)
            findings.append(finding)
        return findings

    def _text(self, text: str, finding: Finding) -> None:
        for rule in self._policy.rules:
            found = rule.finds_disguised(text)
            finding.add(rule.name, float(found), found, "text")
        if self._policy.html != "keep":
            found = active(text)
            finding.add(HTML_RULE, float(found), found, "text")
        guard = self._policy.guard
        if guard is not None and guard.texts is not None and text.strip():
            _add(finding, guard.text(text), "text")

    def _image(self, part: ImagePart, finding: Finding) -> None:
        guard = self._policy.guard
        assert guard is not None
        _add(finding, guard.image(part.image_url.url), "image")


def _add(finding: Finding, verdict: Verdict, kind: str) -> None:
    for key, probability in verdict.probabilities.items():
        finding.add(key, probability, key in verdict.violated, kind)
