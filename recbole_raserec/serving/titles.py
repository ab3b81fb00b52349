"""Search of items by their titles."""

from __future__ import annotations

import threading
import unicodedata
from typing import Any

from recbole_raserec.recommender import Recommender


class Titles:
    """The titles of a recommender's items. New items are found by their tokens."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._changing = threading.Lock()
        self._items: list[str] = []
        self._titles: dict[str, tuple[str, str, str]] = {}  # of each token: what is compared, token, title

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """The items whose title has each word of ``text``; those that begin with it and those of whole words first."""
        entries = self._entries()
        words, start = _plain(text).split(), _plain(text).strip()
        found = [entry for entry in entries if all(word in entry[0] for word in words) or entry[1] == text.strip()]
        found.sort(key=lambda entry: (not entry[0].startswith(start), not set(words) <= set(entry[0].split())))
        return [{"item": token, "title": title} for _, token, title in found[:limit]]

    def _entries(self) -> list[tuple[str, str, str]]:
        items = self._recommender.items
        with self._changing:
            if items is not self._items:
                self._titles = {token: self._titles.get(token) or self._entry(token) for token in items}
                self._items = items
            return list(self._titles.values())

    def _entry(self, token: str) -> tuple[str, str, str]:
        title = self._recommender.title(token)
        return _plain(title), token, title


def _plain(text: str) -> str:
    """Small letters without accents."""
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(letter)
    )
