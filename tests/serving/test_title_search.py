from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from recbole_raserec.serving.titles import Titles


class Growing:
    """A recommender that meets new items while it is searched."""

    def __init__(self) -> None:
        self.met: list[str] = []

    @property
    def items(self) -> list[str]:
        return list(self.met)

    def title(self, item: str) -> str:
        return f"Café {item}"


@pytest.fixture
def often():
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_find_each_new_item_once(often):
    recommender = Growing()
    titles = Titles(recommender)

    def search(number):
        recommender.met.append(f"i{number}")
        found = titles.search("cafe", 10**6)
        return f"i{number}" in {each["item"] for each in found}

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(search, range(1000)))
    found = [each["item"] for each in titles.search("CAFÉ", 10**6)]
    assert sorted(found) == sorted(recommender.items)
