"""Who holds which block, and which blocks hold a prefix that a later request can go on from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bezel.generation.stores import BLOCK
from bezel.kernels.interface import I32
from bezel.models.interface import CacheSpec, Key


@dataclass(eq=False)
class Prefix:
    """A full block of keys behind those of its parents, and the block that holds it in each window group.

    Children are found by their keys, so a prefix is only ever found for exactly its tokens and images.
    """

    parent: Prefix | None
    keys: tuple[Key, ...]
    children: dict[tuple[Key, ...], Prefix] = field(default_factory=dict)
    blocks: dict[int | None, int] = field(default_factory=dict)


class Group:
    """The blocks of the layers with one window. Each is free, or cached (nobody's, but with content), or held.

    Cached blocks are taken again, the longest unused first, before more than `keep` blocks have ever been used:
    memory that nobody asked for stays untouched.
    """

    def __init__(self, window: int | None, count: int, keep: int) -> None:
        self.window, self.count, self.keep = window, count, keep
        self.references = [0] * count
        self.prefixes: list[Prefix | None] = [None] * count
        self.emptied: list[int] = []
        self.used = 0
        self.cached: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Blocks that can be taken."""
        return self.count - self.used + len(self.emptied) + len(self.cached)

    def first(self, position: int, prefix: int = 0) -> int:
        """Index of the first block that a row at `position` sees; those of a `prefix` see all of it."""
        if self.window is None or position < prefix:
            return 0
        return max(0, position - self.window + 1) // BLOCK

    def take(self) -> int:
        """A block without content, held once. The caller has looked at `available`."""
        if self.emptied:
            block = self.emptied.pop()
        elif self.used < self.count and (self.used < self.keep or not self.cached):
            block = self.used
            self.used += 1
        else:
            block, _ = self.cached.popitem(last=False)
            self._forget(block)
        self.references[block] = 1
        return block

    def hold(self, block: int) -> None:
        """Hold a block that has content once more."""
        if not self.references[block]:
            del self.cached[block]
        self.references[block] += 1

    def release(self, block: int) -> None:
        """Let go of a block once."""
        self.references[block] -= 1
        if self.references[block]:
            return
        if self.prefixes[block] is None:
            self.emptied.append(block)
        else:
            self.cached[block] = None

    def _forget(self, block: int) -> None:
        prefix = self.prefixes[block]
        assert prefix is not None and prefix.parent is not None
        self.prefixes[block] = None
        del prefix.blocks[self.window]
        if not prefix.blocks and prefix.parent.children.get(prefix.keys) is prefix:
            del prefix.parent.children[prefix.keys]


@dataclass
class _Held:
    """What one sequence holds: a block table a group (-1: no block), where each begins, and its full blocks."""

    tables: dict[int | None, I32]
    first: dict[int | None, int]
    path: list[Prefix]


class Blocks:
    """Block tables of the running sequences over `counts[window]` blocks a group, with a cache of prefixes.

    A full block is shared by all sequences that begin with the same keys up to its end. What a finished sequence
    held stays cached until its room is needed. Sliding layers let go of what has left the window. `keep[window]`
    (default: all): see `Group`.
    """

    def __init__(
        self, counts: Mapping[int | None, int], context: int, keep: Mapping[int | None, int] | None = None
    ) -> None:
        self.groups = {window: Group(window, count, (keep or counts)[window]) for window, count in counts.items()}
        self._width = -(-context // BLOCK)
        self._root = Prefix(None, ())
        self._held: dict[int, _Held] = {}

    def fits(self, positions: int, segment: int) -> bool:
        """Whether a lone sequence of `positions`, computed in segments of at most `segment`, finds room."""
        whole = -(-positions // BLOCK)
        return all(
            group.count >= (whole if window is None else min(whole, _span(window - 1 + min(segment, positions))))
            for window, group in self.groups.items()
        )

    def begin(self, sequence: int, keys: Sequence[Key], prefix: int = 0) -> int | None:
        """Start a sequence: the number of its first positions that are in the cache already, less than all.

        Full layers get room for all of `keys` at once. None, with nothing held, where there is too little. The rows of
        the first `prefix` positions see all of these, in sliding layers too.
        """
        if sequence in self._held:
            raise ValueError(f"sequence {sequence} has begun already; free it first")
        path = self._match(keys, prefix)
        held = _Held({}, {}, path)
        for window, group in self.groups.items():
            table = np.full(self._width, -1, np.int32)
            held.tables[window], held.first[window] = table, group.first(len(path) * BLOCK, prefix)
            for index in range(held.first[window], len(path)):
                block = path[index].blocks[window]
                group.hold(block)
                table[index] = block
        self._held[sequence] = held
        start = len(path) * BLOCK
        if not self._fill(held, start, len(keys), [None] if None in self.groups else []):
            self.free(sequence)
            return None
        return start

    def reserve(self, sequence: int, start: int, length: int) -> bool:
        """Make room for positions start ... start + length - 1 in every group, or, where one lacks it, in none."""
        return self._fill(self._held[sequence], start, start + length, self.groups)

    def commit(self, sequence: int, keys: Sequence[Key], computed: int) -> None:
        """Say that the first `computed` positions, of `keys`, are written: full blocks can be shared from now on.

        Blocks that no later position sees are let go.
        """
        held = self._held[sequence]
        for index in range(len(held.path), computed // BLOCK):
            self._share(held, index, tuple(keys[index * BLOCK : (index + 1) * BLOCK]))
        for window, group in self.groups.items():
            table, first = held.tables[window], group.first(computed)
            for index in range(held.first[window], first):
                group.release(int(table[index]))
                table[index] = -1
            held.first[window] = max(first, held.first[window])

    def free(self, sequence: int) -> None:
        """Let go of everything that a sequence holds; ends go first when room is needed, as prefixes are worth more."""
        held = self._held.pop(sequence)
        for window, group in self.groups.items():
            for block in reversed(held.tables[window].tolist()):
                if block >= 0:
                    group.release(block)

    def tables(self, sequences: Iterable[int]) -> dict[int | None, list[I32]]:
        """The block tables of sequences, a list for each window."""
        held = [self._held[sequence] for sequence in sequences]
        return {window: [one.tables[window] for one in held] for window in self.groups}

    def _match(self, keys: Sequence[Key], prefix: int) -> list[Prefix]:
        """The longest cached prefix that leaves a token to compute, and whose next row finds all it sees.

        Full layers need every block; sliding layers those of the last window, or every one inside a request's `prefix`.
        """
        node, path, usable = self._root, [], 0
        runs = dict.fromkeys(self.groups, 0)
        for index in range((len(keys) - 1) // BLOCK):
            child = node.children.get(tuple(keys[index * BLOCK : (index + 1) * BLOCK]))
            if child is None:
                break
            node = child
            path.append(node)
            for window in self.groups:
                runs[window] = runs[window] + 1 if window in node.blocks else 0
            end = index + 1
            if all(runs[window] >= end - group.first(end * BLOCK, prefix) for window, group in self.groups.items()):
                usable = end
        return path[:usable]

    def _fill(self, held: _Held, start: int, end: int, windows: Collection[int | None]) -> bool:
        missing = {}
        for window in windows:
            table = held.tables[window]
            missing[window] = [i for i in range(start // BLOCK, (end - 1) // BLOCK + 1) if table[i] < 0]
            if len(missing[window]) > self.groups[window].available:
                return False
        for window, indices in missing.items():
            for index in indices:
                held.tables[window][index] = self.groups[window].take()
        return True

    def _share(self, held: _Held, index: int, keys: tuple[Key, ...]) -> None:
        """Enter block `index` of a sequence into the tree; where another holds the same already, take that one."""
        parent = held.path[-1] if held.path else self._root
        node = parent.children.get(keys)
        if node is None:
            node = parent.children[keys] = Prefix(parent, keys)
        held.path.append(node)
        for window, group in self.groups.items():
            own = int(held.tables[window][index])
            other = node.blocks.get(window)
            if other is None:
                node.blocks[window] = own
                group.prefixes[own] = node
            else:
                group.hold(other)
                group.release(own)
                held.tables[window][index] = other


def pool(spec: CacheSpec, context: int, sequences: int, segment: int) -> dict[int | None, int]:
    """Blocks a window group for `sequences` of `context` positions, computed at most `segment` positions a step."""
    whole = -(-context // BLOCK)
    return {
        window: sequences * whole
        if window is None
        else min(sequences * whole, sequences * (-(-window // BLOCK) + 2) + -(-segment // BLOCK))
        for window in spec.windows
    }


def _span(positions: int) -> int:
    """Most blocks that a run of positions touches, wherever it begins."""
    return (positions - 2) // BLOCK + 2 if positions > 1 else positions
