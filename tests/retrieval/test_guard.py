"""What limits the power of a few owners: exact counts, exact weights, and memories that wait."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.attention import RetrievalAugmentation
from recbole_raserec.retrieval.guard import Guard
from recbole_raserec.retrieval.living import LivingMemory
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.mixture import Mixture, Votes
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.rows import Mark
from recbole_raserec.retrieval.store import MemoryStore

D = 4
OWNERS = st.sampled_from(["a", "b", None])
QUERY = np.ones((1, D), np.float32), np.array([-1]), np.array([9])


def open_living(path: Path, own: int = 3, **more) -> LivingMemory:
    """A living memory of a model with ``own`` memories of the owner "a"."""
    rng, names = np.random.default_rng(0), (Names(["[PAD]", "i"]), Names(["[PAD]", "a"]))
    ones = np.ones(own, int)
    return LivingMemory(
        MemoryBank(rng.normal(size=(own, D)).astype(np.float32), ones, ones, ones), *names, path, "m", **more
    )


def add(living: LivingMemory, owners: list[str | None], item: str = "j") -> np.ndarray:
    n = len(owners)
    keys = np.random.default_rng(len(living)).normal(size=(n, D))
    return living.add(keys, [item] * n, owners, [1] * n, [None] * n)


def ids(living: LivingMemory) -> list[int]:
    """Those of all memories that count, nearest first."""
    snapshot = living.snapshot()
    found = snapshot.search(*QUERY, 100)[0]
    return snapshot.ids(found[found >= 0]).tolist()


@settings(max_examples=25)
@given(st.lists(st.lists(OWNERS, min_size=1, max_size=4), max_size=8), st.integers(1, 4))
def test_an_owner_and_nobody_have_at_most_so_many_added_memories(batches, most):
    with tempfile.TemporaryDirectory() as folder:
        living = open_living(Path(folder) / "m", guard=Guard(max_per_owner=most))
        counts: dict[str | None, int] = {}
        for batch in batches:
            after = {owner: counts.get(owner, 0) + batch.count(owner) for owner in batch}
            before = ids(living)
            if max(after.values()) <= most:
                add(living, batch)
                counts.update(after)
                assert len(ids(living)) == len(before) + len(batch)
            else:
                with pytest.raises(DataError, match="added memories"):
                    add(living, batch)
                assert ids(living) == before
        if "b" in counts:  # room again
            assert living.forget(owner="b") == counts["b"]
            add(living, ["b"] * most)


def test_two_writers_share_the_limit(tmp_path):
    first, second = (open_living(tmp_path / "m", guard=Guard(max_per_owner=2)) for _ in range(2))
    add(first, ["b"])
    add(second, ["b"])
    with pytest.raises(DataError, match="owner='b': has 2 added memories"):
        add(first, ["b"])
    assert len(open_living(tmp_path / "m")) == 5


@settings(max_examples=25)
@given(st.lists(OWNERS, min_size=1, max_size=12), st.floats(0.5, 6), st.booleans())
def test_the_weights_are_by_the_owners_added_memories(owners, votes, forget):
    with tempfile.TemporaryDirectory() as folder:
        living = open_living(Path(folder) / "m", guard=Guard(votes_per_owner=votes))
        add(living, owners)
        if forget:
            living.forget(owner="b")
            owners = [owner for owner in owners if owner != "b"]
        snapshot = living.snapshot()
        found = snapshot.search(*QUERY, 100)[0]
        found = found[found >= 0]
        new = snapshot.ids(found) > 3
        assert (snapshot.weights(found)[~new] == 1).all()
        of = [living.owners.tokens[n] if n else None for n in snapshot.owners(found[new])]
        expected = [min(1, votes / owners.count(owner)) for owner in of]
        np.testing.assert_allclose(snapshot.weights(found[new]), expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_parts_of_a_memory_count_as_the_whole_and_full_weights_change_no_bit(beta):
    torch.manual_seed(0)
    module = RetrievalAugmentation(8, inner_size=16, alpha=0.3, beta=beta, initializer_range=0.5).eval()
    h, keys, values, real = torch.randn(5, 8), torch.randn(5, 4, 8), torch.randn(5, 4, 8), torch.rand(5, 4) < 0.8
    real[0], real[1] = False, True
    plain = module(h, keys, values, real)
    assert torch.equal(module(h, keys, values, real, torch.ones(5, 4)), plain)
    doubled = [torch.cat([each, each], dim=1) for each in (keys, values, real)]
    torch.testing.assert_close(module(h, *doubled, torch.full((5, 8), 0.5)), plain)
    light = module(h, keys, values, real, torch.full((5, 4), 1e-3))
    share = (1e-3 * real.sum(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(light, h + share * (plain - h))
    trust = torch.rand(5, 4) + 0.01
    trust[2] *= 0.1
    weighted = module(h, keys, values, real, trust)
    whole = module.own(real, trust) * h + module.parts(h, keys, values, real, trust)[1].sum(dim=1)
    torch.testing.assert_close(weighted[1:], whole[1:], rtol=1e-4, atol=1e-5)  # new biases are 0
    assert torch.equal(weighted[0], h[0])


def test_votes_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    scores, items = torch.from_numpy(rng.normal(size=(6, 3))), torch.from_numpy(rng.integers(1, 6, (3, 4)))
    cosine = torch.from_numpy(rng.uniform(-1, 1, (3, 4)))

    def mixed(items, cosine, trust=None, weight=0.4):
        copy = scores.clone()
        votes = Votes(copy, items, cosine, torch.zeros(len(copy)), trust)
        return torch.softmax(votes.mix(copy, Mixture(weight, 0.3)), dim=0)

    plain = mixed(items, cosine)
    assert torch.equal(mixed(items, cosine, torch.ones(3, 4)), plain)
    twice = torch.cat([items, items], dim=1), torch.cat([cosine, cosine], dim=1)
    torch.testing.assert_close(mixed(*twice, torch.full((3, 8), 0.5)), plain)
    torch.testing.assert_close(mixed(items, cosine, torch.full((3, 4), 0.05)), mixed(items, cosine, weight=0.4 * 0.2))


def test_a_memory_counts_after_the_quarantine(tmp_path):
    now = [1000.0]
    guarded = open_living(tmp_path / "m", guard=Guard(quarantine=60), clock=lambda: now[0])
    assert len(ids(guarded)) == 3
    add(guarded, ["b"])
    now[0] = 1030.0
    add(guarded, ["c", "c"])
    free = open_living(tmp_path / "m")
    assert len(ids(guarded)) == 3 and len(ids(free)) == 6
    now[0] = 1059.9
    assert len(ids(guarded)) == 3
    now[0] = 1060.0
    assert len(ids(guarded)) == 4 and 4 in ids(guarded)
    assert guarded.forget(owner="c") == 2  # before anyone saw them
    now[0] = 2000.0
    assert len(ids(guarded)) == 4
    guarded.compact()
    assert len(ids(guarded)) == 4 and len(ids(open_living(tmp_path / "m"))) == 4


def test_what_was_added_since_a_time_is_forgotten_whosever_it_is(tmp_path):
    now = [100.0]
    living = open_living(tmp_path / "m", clock=lambda: now[0])
    add(living, ["a", None])
    now[0] = 200.0
    add(living, ["b", None, "a"])
    living.compact()  # keeps the times
    assert living.forget(added_since=200.5) == 0
    assert living.forget(added_since=200.0) == 3
    assert sorted(ids(living)) == [1, 2, 3, 4, 5]
    assert living.forget(added_since=-1e9) == 2
    assert sorted(ids(living)) == [1, 2, 3]  # the model's own were never added
    assert "b" not in open_living(tmp_path / "m").owners
    with pytest.raises(ConfigError, match="added_since"):
        living.forget(added_since=float("nan"))


def test_a_store_of_the_format_before_is_read_and_its_memories_are_the_models(tmp_path):
    store = MemoryStore(tmp_path / "m", D, "m")
    with closing(open_living(tmp_path / "m")) as living:
        add(living, ["b"])
    with closing(sqlite3.connect(store.path)) as old, old:
        old.executescript(
            "DROP INDEX memories_added; DROP INDEX memories_of_nobody; ALTER TABLE memories DROP COLUMN added;"
            "UPDATE meta SET format = 1; PRAGMA user_version = 1;"
        )
    keys = store.changes(Mark()).rows
    assert keys.ids.tolist() == [1, 2, 3, 4] and np.isnan(keys.added).all()
    living = open_living(tmp_path / "m", guard=Guard(max_per_owner=1))
    add(living, ["b"])
    assert living.forget(added_since=0) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_per_owner", 1.5),
        ("max_per_owner", -1),
        ("votes_per_owner", np.nan),
        ("quarantine", "1"),
        ("quarantine", True),
    ],
)
def test_a_wrong_limit_is_a_clear_error(name, value):
    with pytest.raises(ConfigError, match=name):
        Guard(**{name: value})
