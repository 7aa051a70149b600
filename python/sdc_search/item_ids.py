"""The ids of an index's items: which are stored, how they grow, and how they name rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sdc_search.growing import Growing
from sdc_search.id_lookup import IdLookup, Int64Array, ids_at


@dataclass(frozen=True, slots=True)
class ItemIds:
    """The ids of `n` items at one instant, in the order of adding."""

    n: int = 0
    stored: Growing[np.int64] | None = None  # None: each row is its own id
    ascending: bool = True  # the ids rise from row to row, as they do where none are stored
    next_id: int = 0
    lookup: IdLookup = field(default_factory=IdLookup)  # of ids that are not ascending

    @property
    def rows(self) -> Int64Array | None:
        """Return the stored ids."""
        return None if self.stored is None else self.stored.rows

    @property
    def ties(self) -> Int64Array | None:
        """Return the ids that a search needs to break ties: where they rise, the rows do as well."""
        return None if self.stored is None or self.ascending else self.stored.rows

    def named(self, found: Int64Array) -> Int64Array:
        """Return the ids of what a search with `ties` found; -1 stays."""
        return found if self.stored is None or not self.ascending else ids_at(found, self.stored.rows)

    def rows_of(self, ids: Int64Array) -> Int64Array:
        """Return the rows that hold non-negative ids, -1 where none does."""
        if self.stored is None:
            return np.where(ids < self.n, ids, -1)
        if not self.ascending:
            return self.lookup.find(self.stored.rows, ids)
        rows = np.searchsorted(self.stored.rows, ids)
        rows[rows == self.n] = 0
        return np.where(self.stored.rows[rows] == ids, rows, -1)

    def extended(self, ids: Int64Array) -> ItemIds:
        """Append ids, at least one, that are new."""
        steps = np.diff(ids)
        follows = self.n == 0 or ids[0] > (self.n - 1 if self.stored is None else self.stored.rows[-1])
        are_rows = self.stored is None and ids[0] == self.n and bool((steps == 1).all())
        if are_rows:
            stored = None
        elif self.stored is None:
            stored = Growing(np.arange(self.n), self.n).extended(ids)
        else:
            stored = self.stored.extended(ids)
        return replace(
            self,
            n=self.n + len(ids),
            stored=stored,
            ascending=self.ascending and bool(follows) and bool((steps > 0).all()),
            next_id=max(self.next_id, int(ids.max()) + 1),
        )

    def apart(self) -> ItemIds:
        """Return the same ids for another index, which may grow on its own."""
        stored = None if self.stored is None else Growing(self.stored.rows, self.n)
        return replace(self, stored=stored, lookup=IdLookup())

    def kept(self, kept: npt.NDArray[np.bool_]) -> ItemIds:
        """Keep some ids, not all, in new memory: searches may be reading the old."""
        ids = np.flatnonzero(kept) if self.stored is None else self.stored.rows[kept]
        are_rows = len(ids) == 0 or (self.stored is None and ids[-1] == len(ids) - 1)
        return replace(
            self,
            n=len(ids),
            stored=None if are_rows else Growing(ids, len(ids)),
            ascending=self.ascending or are_rows,
            lookup=self.lookup.without(kept),
        )
