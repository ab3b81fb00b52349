"""Stories of a living memory: whatever was added, forgotten and compacted, a search is brute force over the rest."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.retrieval import living as living_module
from recbole_raserec.retrieval import segments
from recbole_raserec.retrieval.living import IndexSettings, LivingMemory
from recbole_raserec.retrieval.snapshot import Snapshot
from tests.retrieval.living import ITEMS, OWNERS, Memory, add, check, open_living, random_memories


class Story:
    """A living memory, a second one on the same store, and what both should hold."""

    def __init__(self, folder: Path, seed: int, **more) -> None:
        self.rng, self.folder, self.more = np.random.default_rng(seed), folder, more
        self.ties = "index" not in more  # an approximate index does not look for more ties
        self.initial = random_memories(self.rng, 1, int(self.rng.integers(0, 12)), self.ties)
        self.expected, self.next = list(self.initial), len(self.initial) + 1
        self.first, self.second = self.open(), self.open()
        self.old: list[tuple[LivingMemory, Snapshot, list[Memory]]] = []

    def open(self) -> LivingMemory:
        return open_living(self.folder / "m", self.initial, **self.more)

    def step(self, number: int) -> None:
        """One of ten operations, by either of the two, then a comparison of one of them."""
        writer, other = (self.first, self.second) if self.rng.random() < 0.7 else (self.second, self.first)
        writer.refresh()
        operation = number % 10
        if operation <= 3:
            new = random_memories(self.rng, self.next, int(self.rng.integers(0, 5)), self.ties)
            add(writer, new)
            self.next += len(new)
            self.expected += new
        elif operation == 4:
            owner = str(self.rng.choice(OWNERS))
            self.delete(writer.forget(owner=owner), [m for m in self.expected if m.owner != owner])
        elif operation == 5:
            item = str(self.rng.choice(ITEMS))
            self.delete(writer.forget(item=item), [m for m in self.expected if m.target != item])
        elif operation == 6:
            before = float(self.rng.integers(0, 5))
            self.delete(writer.expire(before), [m for m in self.expected if m.time is None or m.time >= before])
        elif operation == 7:
            writer.compact()
        elif operation == 8:
            self.first.close()
            self.first = self.open()
        else:
            self.old = [*self.old[-2:], (writer, writer.snapshot(), list(self.expected))]
        other.refresh()
        for living in (self.first,) if operation == 8 else (other,) if self.rng.random() < 0.5 else (writer, other):
            check(living, living.snapshot(), self.expected, self.rng, self.ties)
        time = float(self.rng.integers(0, 9))
        check(
            writer,
            writer.snapshot().as_of(time),
            [m for m in self.expected if m.time is None or m.time <= time],
            self.rng,
            self.ties,
        )
        for living, snapshot, expected in self.old if operation > 6 else self.old[:1]:
            check(living, snapshot, expected, self.rng, self.ties)

    def delete(self, count: int, left: list[Memory]) -> None:
        assert count == len(self.expected) - len(left)
        self.expected = left

    def close(self) -> None:
        self.first.close()
        self.second.close()


def tell(steps: list[int], seed: int, large: int) -> None:
    """A story in a folder of its own, in main memory if there is such a folder."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(living_module, "_LARGE", large)
        patch.setattr(segments, "_FEW", 2)
        try:
            with closing(Story(folder, seed)) as story:
                for step in steps:
                    story.step(step)
        finally:
            shutil.rmtree(folder)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=25), st.integers(0, 10**6), st.sampled_from([1, 8, 10**6]))
def test_any_story_ends_as_brute_force_says(steps, seed, large):
    tell(steps, seed, large)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_long_stories(part):
    rng = np.random.default_rng(part)
    for _ in range(100):
        tell(rng.integers(0, 10, 100).tolist(), int(rng.integers(10**6)), int(rng.choice([1, 8, 10**6])))


def test_stories_with_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(living_module, "_LARGE", 8)
    rng = np.random.default_rng(3)
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        with closing(Story(folder, number, index=IndexSettings("IVF1,Flat", 1))) as story:
            for step in rng.integers(0, 10, 30).tolist():
                story.step(step)
