"""Where `$ref` leads within one JSON Schema document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

_DRAFTS = {
    "http://json-schema.org/draft-03/schema": 3,
    "http://json-schema.org/draft-04/schema": 4,
    "http://json-schema.org/draft-06/schema": 6,
    "http://json-schema.org/draft-07/schema": 7,
    "https://json-schema.org/draft/2019-09/schema": 2019,
    "https://json-schema.org/draft/2020-12/schema": 2020,
}
_DATA = ("enum", "const", "default", "examples")  # what stands there is no schema


def draft_of(schema: Any) -> int:
    """4, 6, 7, 2019 or 2020: what `$schema` names, the latest where it names nothing known."""
    named = schema.get("$schema") if isinstance(schema, dict) else None
    return _DRAFTS.get(named.rstrip("#"), 2020) if isinstance(named, str) else 2020


class References:
    """The schemas of a document by their addresses: identifiers, anchors and JSON pointers."""

    def __init__(self, root: Any, draft: int) -> None:
        self._root, self._id = root, "id" if draft == 4 else "$id"
        self.old = draft <= 7
        self._resources: dict[str, Any] = {"": root}
        self._bases: dict[int, str] = {}
        for node, base in self._walk(root):
            self._bases[id(node)] = base

    def resolve(self, reference: str, node: Any) -> Any | None:
        """The schema that `reference`, which stands in `node`, leads to; None where it leads out of the document."""
        address, fragment = urldefrag(self._joined(self._bases.get(id(node), ""), reference))
        whole = self._resources.get(f"{address}#{fragment}")
        if whole is not None:
            return whole
        place = self._resources.get(address)
        if place is None or (fragment and not fragment.startswith("/")):
            return None
        for part in unquote(fragment).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(place, list) and key.isdigit() and int(key) < len(place):
                place = place[int(key)]
            elif isinstance(place, dict) and key in place:
                place = place[key]
            else:
                return None
        return place if isinstance(place, dict | bool) else None

    def _walk(self, root: Any) -> Iterator[tuple[Any, str]]:
        waiting = [(root, "")]
        while waiting:
            node, base = waiting.pop()
            if isinstance(node, dict):
                base = self._named(node, base)
                yield node, base
                waiting += [(child, base) for key, child in node.items() if key not in _DATA]
            elif isinstance(node, list):
                waiting += [(child, base) for child in node]

    def _named(self, node: dict[str, Any], base: str) -> str:
        """Note the names that a schema gives itself; returns the base of addresses in it."""
        name = node.get(self._id)
        if isinstance(name, str) and not (self.old and "$ref" in node):
            address, fragment = urldefrag(self._joined(base, name))
            if fragment:
                self._resources.setdefault(f"{address}#{fragment}", node)
            else:
                base = address
                self._resources.setdefault(address, node)
        for anchor in ("$anchor", "$dynamicAnchor"):
            if isinstance(node.get(anchor), str):
                self._resources.setdefault(f"{base}#{node[anchor]}", node)
        return base

    @staticmethod
    def _joined(base: str, reference: str) -> str:
        if not base or "://" in reference:
            return reference
        if reference.startswith("#"):
            return base + reference
        return urljoin(base, reference)
