"""The memory of a recommender, by tokens: what it reads, learns and forgets while it serves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from recbole_raserec.data.histories import read_histories, token
from recbole_raserec.data.rows import BadLineError
from recbole_raserec.data.times import read_time
from recbole_raserec.errors import DataError
from recbole_raserec.recommending.answer import View
from recbole_raserec.recommending.request import numbered
from recbole_raserec.retrieval.living import LivingMemory
from recbole_raserec.retrieval.names import PADDING
from recbole_raserec.retrieval.snapshot import Snapshot


class Memory:
    """Adds and forgets memories durably: a change is on the disk when its method returns.

    Forgetting edits the memory, not the weights: what training learned from a person stays in the model, and the
    model's own file keeps the memories that it was written with.

    Parameters
    ----------
    living : the memories and their store.
    view : the model with its memory as it is now.
    """

    def __init__(self, living: LivingMemory, view: Callable[[], View]) -> None:
        self._living, self._view = living, view

    def __len__(self) -> int:
        return len(self._living)

    def add(self, history: Iterable[Any], next_item: Any, owner: Any = None, time: Any = None) -> int:
        """Remember that ``next_item`` followed ``history``, and return the id of the memory.

        Parameters
        ----------
        history : item tokens, oldest first; the training data has at least one of them.
        next_item : an item token; a new one can be recommended from now on.
        owner : the user; None is nobody. An owner can be forgotten, and gets no memory of the own future.
        time : seconds, or a date; None is unknown.

        Raises
        ------
        DataError, ConfigError : an input is wrong or the store cannot be written; nothing was changed.
        """
        if isinstance(history, (str, bytes)):
            raise DataError("history", history, "is one text", "give a list of item tokens")
        try:
            return int(self.add_many([list(history)], [next_item], [owner], [time])[0])
        except DataError as error:
            raise DataError(error.field.removesuffix(" 0"), error.value, error.problem, error.mend) from error

    def add_many(
        self,
        histories: Any,
        next_items: Sequence[Any],
        owners: Sequence[Any] | None = None,
        times: Sequence[Any] | None = None,
        on_unknown: str = "raise",
    ) -> np.ndarray:
        """As :meth:`add`, n memories in one transaction: all or none. Return their ids [n].

        ``on_unknown`` says what happens to unknown items of histories: "raise", or "warn" or "ignore" to skip them.
        """
        given = read_histories(histories, owners, "owner")
        for name, column in (("next_items", next_items), ("times", times)):
            if column is not None and len(column) != len(given):
                problem = f"{len(column)} of them for {len(given)} histories"
                raise DataError(name, None, problem, "give one for each history")
        targets = [self._target(item, given.field(n, "next_item")) for n, item in enumerate(next_items)]
        seconds = [math.nan] * len(given)
        if times is not None:
            seconds = [seconds_of(time, given.field(n, "time")) for n, time in enumerate(times)]
        view = self._view()  # before the tokens become numbers, as in Recommender.recommend
        request = numbered(given, self._living.items, self._living.owners, on_unknown)
        cold = view.is_cold(request)
        if cold.any():
            mend = "leave it out: there is nothing by which a similar history could be found"
            raise DataError(given.field(int(cold.argmax())), None, "the model knows none of its items", mend)
        return self._living.add(view.encode(request), targets, given.owners, request.lengths, np.array(seconds))

    def _target(self, item: Any, field: str) -> str:
        """The token of an item. A new one may have any name that shows and is not RecBole's padding."""
        name = token(item, field)
        if name.strip() in ("", PADDING) and name not in self._living.items:
            raise DataError(field, item, "no name of a new item", "give the item's token")
        return name

    def forget(self, owner: Any = None, item: Any = None, added_since: Any = None) -> int:
        """Delete an owner's memories, or those that lead to ``item``, also from the disk. Return how many.

        Or delete what was added at ``added_since`` (seconds, or a date) or later, whatever its own time is, and
        whosever it is. The model's own memories were never added.
        """
        return self._living.forget(**self.selection(owner, item, added_since))

    @staticmethod
    def selection(owner: Any = None, item: Any = None, added_since: Any = None) -> dict[str, Any]:
        """What :meth:`forget` would delete, checked. DataError if a value is wrong, or not exactly one is given."""
        given = {"owner": owner, "item": item, "added_since": added_since}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            problem = "needs one of owner, item and added_since"
            raise DataError("forget", named or None, problem, 'for example owner="anna"')
        return {
            name: seconds_of(value, name) if name == "added_since" else token(value, name)
            for name, value in named.items()
        }

    def expire(self, before: Any) -> int:
        """Delete the memories with a time before ``before`` (seconds, or a date). Return how many."""
        return self._living.expire(seconds_of(before, "before"))

    def compact(self) -> None:
        """Write the store anew without the traces of deletions, and build its index anew."""
        self._living.compact()

    def check(self) -> None:
        """Raise DataError if the store's file was removed or replaced while it was open."""
        self._living.check()

    def refresh(self) -> Snapshot:
        """The memories as they are now, with those that other processes wrote."""
        self._living.refresh()
        return self._living.snapshot()

    def close(self) -> None:
        """Close the store."""
        self._living.close()


def seconds_of(time: Any, field: str = "time") -> float:
    """Seconds since 1970; NaN for None. A date without a zone is UTC."""
    if time is None:
        return math.nan
    try:
        return float(read_time(time))
    except BadLineError as error:
        mend = "give seconds, or a date like 2024-01-19 10:00:00"
        raise DataError(field, time, "not a time", mend) from error
