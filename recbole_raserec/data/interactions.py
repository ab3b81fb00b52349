"""Interactions in memory: three flat columns of numbers, and each name once."""

from __future__ import annotations

from array import array

import numpy as np

from recbole_raserec.data.times import Times
from recbole_raserec.data.tokens import check_token, token


class Interactions:
    """Interactions in the order of their source.

    Attributes
    ----------
    users, items : the numbers of the users and items by their tokens, in the order of their first interaction.
    times : the times of the interactions.
    """

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.times = Times()
        self._users, self._items = array("q"), array("q")

    def add(self, user: object, item: object, time: object) -> None:
        """Add an interaction. Raise BadLineError, and add nothing, if a value is missing or malformed."""
        user_token = user.strip() if type(user) is str else token("user", user)
        item_token = item.strip() if type(item) is str else token("item", item)
        if user_token not in self.users:  # each token is checked once
            check_token("user", user_token)
        if item_token not in self.items:
            check_token("item", item_token)
        self.times.append(time)
        self._users.append(self.users.setdefault(user_token, len(self.users)))
        self._items.append(self.items.setdefault(item_token, len(self.items)))

    def ordered(self, k_core: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User numbers, item numbers and seconds [N] after the k-core filter, sorted by user, then by time.

        Ties keep the order of the source.
        """
        users, items, times = np.array(self._users), np.array(self._items), self.times.raw()
        keep = k_core_of(users, items, k_core)
        keep = keep[np.lexsort((times[keep], users[keep]))]  # lexsort is stable
        _, ticks = self.times.unit()
        return users[keep], items[keep], times[keep] / ticks


def k_core_of(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """[K] indices of the interactions ``users``, ``items`` [N] that are left if each has at least ``k`` of the left."""
    keep = np.arange(len(users))
    while k > 1 and len(keep):
        enough = np.bincount(users[keep])[users[keep]] >= k
        enough &= np.bincount(items[keep])[items[keep]] >= k
        if enough.all():
            break
        keep = keep[enough]
    return keep
