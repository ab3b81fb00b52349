"""The living memory: memories that a recommender searches, adds and forgets while it serves, without retraining."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable, TypeVar

import faiss
import numpy as np

from recbole_raserec.errors import ConfigError
from recbole_raserec.retrieval.guard import NO_GUARD, Guard
from recbole_raserec.retrieval.index_cache import IndexCache, IndexSettings
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.rows import Changes, Mark
from recbole_raserec.retrieval.seed import seed
from recbole_raserec.retrieval.segments import Segment, Tail, merged, whole
from recbole_raserec.retrieval.snapshot import Snapshot
from recbole_raserec.retrieval.store import MemoryStore
from recbole_raserec.retrieval.tokens import Numbers, columns_of

_T = TypeVar("_T")
_LARGE = 20_000  # memories in the tail, or deleted ones in the base, that are searched over or skipped one by one
_SHARE = 0.05  # of the base, if that is more
_INDEX = IndexSettings()


class LivingMemory:
    """Memories in a store, and the same memories in main memory for the search.

    If there is no store yet, the initial memories are read only, and the first change creates the store with them. If
    there is a store, its memories count and the initial ones are ignored. Threads and processes may change the same
    store at once. A change is durable when its method returns. Every method may raise the errors of
    :class:`~recbole_raserec.retrieval.store.MemoryStore`, and then nothing was changed.

    Parameters
    ----------
    bank : initial memories. Targets and owners are numbers of ``items`` and ``owners``.
    items, owners : tokens. New ones are added as they are met.
    path : file of the store.
    model : digest of the backbone that makes the keys. A store of another backbone is an error.
    index : index of the base segment.
    key_type : float32 or float16, in a new store. Of float16 the search sees the rounded keys.
    guard : limits for added memories.
    clock : seconds since 1970.
    """

    def __init__(
        self,
        bank: MemoryBank,
        items: Names,
        owners: Names,
        path: str | Path,
        model: str,
        index: IndexSettings = _INDEX,
        key_type: str = "float32",
        guard: Guard = NO_GUARD,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.items, self.owners = items, owners
        self._guard, self._clock = guard, clock
        self._settled: tuple[Snapshot, float, Snapshot] | None = None
        self._index, self._key_type, self._width = index, key_type, bank.keys.shape[1]
        self._store = MemoryStore(path, self._width, model)
        self._cache = IndexCache(self._store, index.factory, index.nprobe, index.recall)
        self._numbers = Numbers(items), Numbers(owners)
        self._mark: Mark | None = None  # None while there is no store
        self._version: tuple[int, int] | None = None
        self._unsaved: tuple[faiss.Index, Mark] | None = None  # a new index, for the disk
        if self._store.exists():
            self._store.finish()
            self._take_in()
            self._save_index()
        else:
            self._publish(whole(index.of(bank), np.arange(1, len(bank) + 1)), Tail(self._width))

    def __len__(self) -> int:
        return len(self._snapshot)

    def snapshot(self) -> Snapshot:
        """The memories that count now, as this object last saw them. It never waits."""
        snapshot, settled = self._snapshot, self._settled
        if not self._guard.quarantine:
            return snapshot
        now = self._clock() - self._guard.quarantine
        if settled is None or settled[0] is not snapshot or now >= settled[1]:
            self._settled = settled = snapshot, snapshot.next_after(now), snapshot.settled(now)
        return settled[2]

    def add(
        self,
        keys: np.ndarray,
        targets: Sequence[str],
        owners: Sequence[str | None],
        lengths: Sequence[int] | np.ndarray,
        times: Sequence[float | None] | np.ndarray,
    ) -> np.ndarray:
        """Add n memories and return their ids [n]: all, or none if there is an error.

        Parameters
        ----------
        keys : [n, D] finite vectors of the encoder.
        targets, owners : [n] tokens. The owner None is nobody.
        lengths : [n] number of items in each prefix.
        times : [n] NaN or None is unknown.
        """
        return self._change(
            lambda: self._store.add(keys, targets, owners, lengths, times, self._clock(), self._guard.max_per_owner)
        )

    def forget(self, owner: str | None = None, item: str | None = None, added_since: float | None = None) -> int:
        """Delete an owner's memories, or those whose target is ``item``, or those added at a time or later.

        Their bytes are in no file of the store afterwards. Return how many there were. ConfigError unless exactly one
        of the three is given.
        """
        return self._change(lambda: self._store.forget(owner, item, added_since))

    def expire(self, before: float) -> int:
        """Delete the memories with a time < ``before``, and return how many there were."""
        return self._change(lambda: self._store.expire(before))

    def compact(self) -> None:
        """Write the store anew without the traces of deletions, read it again, and build the index anew."""
        self._change(self._store.compact)

    def refresh(self) -> None:
        """Take in what other processes wrote. It costs little if there is nothing, and waits for no writer."""
        with self._store.reading:
            if self._mark is None and not self._store.exists():
                return
            if self._store.version() != self._version:
                self._take_in()

    def check(self) -> None:
        """Raise DataError if the store was removed or replaced while it was open."""
        self._store.check_place()

    def close(self) -> None:
        """Close the file. Snapshots remain usable, and the next change opens the file again."""
        self._store.close()

    def _change(self, change: Callable[[], _T]) -> _T:
        """Change the store, and take in what it holds then. While it waits for other processes, answers go on."""
        with self._store.writing:
            self._ensure_store()
            result = change()
            with self._store.reading:
                self._take_in()
            self._save_index()
            return result

    def _ensure_store(self) -> None:
        """Create the store with the initial memories, or take in the one that another process created."""
        if self._mark is not None:
            return
        base = self._snapshot.base
        rows, items, owners = seed(base, self.items, self.owners)
        created = self._store.create(rows, items, owners, self._key_type)
        with self._store.reading:
            if self._mark is not None:
                return  # a reader has taken it in meanwhile
            if not created or self._key_type != "float32":  # the search must see the store's keys
                return self._take_in()
            for numbers, new in zip(self._numbers, (items, owners)):
                numbers.learn(dict(enumerate(new, 1)))
            self._mark = Mark(len(rows), len(items), len(owners), 0, 0, self._store.place())
            self._keep_index(base)

    def _take_in(self) -> None:
        """Read what is new in the store."""
        version = self._store.version()
        changes = self._store.changes(self._mark or Mark())
        if changes.afresh or len(changes.dead):
            self._unsaved = None  # it may have keys of deleted memories
        (self._start if changes.afresh else self._continue)(changes)
        self._merge_if_large()
        self._version = version  # after an error the next look reads it again

    def _continue(self, changes: Changes) -> None:
        """Add what is new to the memories."""
        columns = columns_of(changes, self._numbers, self._store.path)
        self._mark, snapshot = changes.mark, self._snapshot
        if len(changes.rows):
            self._tail.append(**columns)
        base, gone = snapshot.base, snapshot.base.find(changes.dead)
        if len(changes.dead):
            base = base.without(gone) if len(gone) else base
            self._tail.kill(changes.dead)
        self._publish(base, self._tail)

    def _start(self, changes: Changes) -> None:
        """Begin anew with all memories of the store."""
        columns, rows = columns_of(changes, self._numbers, self._store.path), changes.rows
        cached = self._cache.load(changes.mark)
        split = len(rows) if cached is None else int(np.searchsorted(rows.ids, cached[1], "right"))
        if cached is not None and cached[0].ntotal != split:
            cached, split = None, len(rows)
        old, new = (
            {name: column[part] for name, column in columns.items()} for part in (slice(split), slice(split, None))
        )
        ids, added = old.pop("ids"), old.pop("added")
        base = whole(self._index.of(MemoryBank(**old)), ids, added)  # type: ignore[arg-type]
        tail = Tail(self._width)
        tail.append(**new)
        self._mark = changes.mark
        if cached is not None:
            base.bank.take_index(cached[0])
        else:
            base = self._keep_index(base)
        self._publish(base, tail)

    def _publish(self, base: Segment, tail: Tail) -> None:
        self._tail, self._snapshot = tail, Snapshot(base, tail.segment(), self._guard)

    def _merge_if_large(self) -> None:
        base = merged(self._snapshot.base, self._snapshot.tail, max(_LARGE, _SHARE * len(self._snapshot.base)))
        if base is not None:
            self._publish(self._keep_index(base), Tail(self._width))

    def _keep_index(self, base: Segment) -> Segment:
        """Build the index of ``base`` now if that is slow. :meth:`_save_index` saves it if it has no deleted keys."""
        if base.bank.is_exact or not len(base):
            return base
        assert self._mark is not None
        try:
            index = base.bank.index
        except ConfigError as error:
            if not hasattr(self, "_snapshot"):
                raise
            logging.getLogger().warning(f"{error} Until then the search is exact.")
            return replace(base, bank=replace(base.bank, index_factory="Flat"))
        if not base.deaths and not isinstance(index, faiss.IndexFlat):
            self._unsaved = index, self._mark
        return base

    def _save_index(self) -> None:
        """Write a new index to the disk. It waits for other writers, so answers do not do it."""
        new, self._unsaved = self._unsaved, None
        if new is not None:
            self._cache.save(*new)
