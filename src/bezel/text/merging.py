"""Byte-pair merging by the scores of pieces, as sentencepiece and GGUF store them: no table of merges is made.

Gemma's 262,144 pieces have half a million pairs that make one; finding them all takes seconds, a prompt needs few.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from heapq import heapify, heappop, heappush
from typing import overload

NEVER = float("inf")
_SHORT = 32
"""Characters of a text that is merged whole, and of a word whose ids are remembered."""
_WORDS = re.compile("▁*[^▁]+|▁+")
_NO_TEXT = "\ud800"  # half a surrogate pair, which no UTF-8 holds
_WORD_AND_MORE = re.compile("[^▁\ud800]▁")
Candidate = tuple[float, int, int, int, int]


class ScoredMerges(Sequence[tuple[str, str]]):
    """Every pair of text pieces that makes a piece, best first; `pairs` is made when first looked at.

    `ids` holds the text pieces, in the order of their ids; `costs[id]` is the negative score, or NEVER for a piece that
    merging may not make. The lowest cost comes first; of equal ones the longest left part, then the longest right
    part (Transformers' order), then the lowest id.
    """

    def __init__(self, ids: Mapping[str, int], costs: array[float]) -> None:
        self.ids, self.costs = ids, costs

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        ids = self.ids
        found = [
            (self.costs[token_id], -cut, cut - len(piece), token_id, piece)
            for piece, token_id in ids.items()
            if self.costs[token_id] != NEVER
            for cut in range(1, len(piece))
            if piece[:cut] in ids and piece[cut:] in ids
        ]
        found.sort(key=lambda merge: merge[:4])
        return [(piece[:-cut], piece[-cut:]) for _, cut, _, _, piece in found]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        return self.pairs[index]

    def merge(self, text: str) -> list[str]:
        """Cut `text` into characters and join neighbours, the best pair first, of equal ones the leftmost."""
        parts = list(text)
        count = len(parts)
        after, before = list(range(1, count + 1)), list(range(-1, count - 1))
        waiting = [found for place in range(count - 1) if (found := self._candidate(parts, place, place + 1))]
        heapify(waiting)
        while waiting:
            _, left, right, _, place = heappop(waiting)
            following = after[place]
            # Parts only grow, or vanish into the one before: equal lengths are the same two parts.
            if following == count or len(parts[place]) != -left or len(parts[following]) != -right:
                continue
            parts[place] += parts[following]
            parts[following] = ""
            beyond = after[place] = after[following]
            if beyond < count:
                before[beyond] = place
                if found := self._candidate(parts, place, beyond):
                    heappush(waiting, found)
            if before[place] >= 0 and (found := self._candidate(parts, before[place], place)):
                heappush(waiting, found)
        return [part for part in parts if part]

    def _candidate(self, parts: list[str], place: int, following: int) -> Candidate | None:
        left, right = parts[place], parts[following]
        token_id = self.ids.get(left + right)
        if token_id is None or left not in self.ids or right not in self.ids:
            return None
        cost = self.costs[token_id]
        return None if cost == NEVER else (cost, -len(left), -len(right), token_id, place)


class ScoreEncoder:
    """Text to ids: `whole` pieces are found first, the rest is merged, and what has no piece becomes bytes.

    byte_ids: the ids of <0x00> ... <0xFF>.
    """

    def __init__(self, merges: ScoredMerges, whole: Sequence[str], byte_ids: Sequence[int]) -> None:
        self._merges, self._byte_ids = merges, byte_ids
        self._remembered = lru_cache(1 << 15)(self._merged)
        longest_first = sorted(whole, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if whole else None

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which must be encodable as UTF-8."""
        ids: list[int] = []
        for place, part in enumerate(self._pattern.split(text) if self._pattern else [text]):
            if place % 2:
                ids.append(self._merges.ids[part])
                continue
            spelled = part.replace(" ", "▁")
            for word in _WORDS.findall(spelled) if len(spelled) > _SHORT and self._words_stand_alone else [spelled]:
                ids += self._merged(word) if len(word) > _SHORT else self._remembered(word)
        return ids

    def _merged(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in self._merges.merge(text):
            token_id = self._merges.ids.get(piece)
            if token_id is None:
                ids += [self._byte_ids[byte] for byte in piece.encode()]
            else:
                ids.append(token_id)
        return ids

    @cached_property
    def _words_stand_alone(self) -> bool:
        """No piece goes on behind the end of a word, so that words may be merged one by one."""
        return _WORD_AND_MORE.search(_NO_TEXT.join(self._merges.ids)) is None
