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
        self._growing = threading.Lock()
        self._titles: list[tuple[str, str, str]] = []  # what is compared, token, title

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """The items whose title has each word of ``text``; those that begin with it and those of whole words first."""
        with self._growing:
            for token in self._recommender.items[len(self._titles) :]:
                title = self._recommender.title(token)
                self._titles.append((_plain(title), token, title))
        words, start = _plain(text).split(), _plain(text).strip()
        found = [entry for entry in self._titles if all(word in entry[0] for word in words) or entry[1] == text.strip()]
        found.sort(key=lambda entry: (not entry[0].startswith(start), not set(words) <= set(entry[0].split())))
        return [{"item": token, "title": title} for _, token, title in found[:limit]]


def _plain(text: str) -> str:
    """Small letters without accents."""
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(letter)
    )
