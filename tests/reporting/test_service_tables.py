"""The figures of poisoning and of the service's speed: how they are found, and how they are shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import attackers, memory_tables, poisoning, service_tables


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_fewest_is_enough_and_a_tenth_less_is_not(needed, most):
    found = poisoning.fewest(lambda n: n >= needed, most)
    if needed > most:
        assert found is None
    else:
        assert found is not None and needed <= found <= min(most, needed * 1.12 + 1)


def test_each_next_place_has_the_most_people_who_are_not_had_yet():
    covers = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool)
    assert attackers.cover(covers) == [1, 0, 4]


def row(seed: int, attack: str, target: str, owners: str, without: int | None, limited: int | None) -> dict:
    limits = dict.fromkeys(("max_per_owner", "votes_per_owner", "new_item_owners", "all"), limited)
    return {
        "model": "mixture 0.3", "seed": seed, "attack": attack, "target": target, "owners": owners, "without": without,
        **limits,
    }  # fmt: skip


def test_the_stronger_attacker_of_each_seed_is_shown():
    rows = [
        row(seed, attack, target, owners, without, None if owners == "one" else 2000)
        for seed, attack, without in ((0, "random", 20), (0, "chosen", 300), (1, "random", None), (1, "chosen", 1100))
        for target in memory_tables.TARGETS
        for owners in ("one", "many")
    ]
    result = {
        "rows": rows, "recommended": poisoning.RECOMMENDED, "data": "Some.txt", "memories": 121704, "users": 1000,
        "models": {"mixture 0.3": {"strength": 1.0, "adjustment": 0.1, "mixture": {"weight": 0.3}, "voters": 200}},
        "options": {"users": "1500", "seeds": "2", "share": "0.01", "most": "10000"},
        "cost": {"without": {"memories": 12, "new": 0.05, "others": 0.125}},
    }  # fmt: skip
    lines = memory_tables.poisoning_table(result).splitlines()
    one, many = (next(line for line in lines if f"a rare item | {owners}" in line) for owners in ("one", "many"))
    assert one == "| mixture 0.3 | a rare item | one | 20 to 1,100 | never | never | never | never |"
    assert many.endswith("| 20 to 1,100 | 2,000 | 2,000 | 2,000 | 2,000 |")
    assert "mixture 0.3: strength 1, adjustment 0.1, mixture 0.3 of 200 memories." in lines[0]
    assert "of 1 % of the users" in lines[0] and lines[-1] == "| without | .0500 | .1250 |"
    assert any("1,500 of the users of each kind" in line for line in lines)


@pytest.mark.parametrize("minutes", [0, 10])
def test_speed_and_soak(minutes):
    speed = {"p50_ms": 5.04, "p99_ms": 11.96, "requests_per_second": 1180.4}
    result = {"rows": [{"batching": True, "clients": 64, **speed}], "memories": 121704, "items": 11496, "cores": 2}
    if minutes:
        looks = [[n * 5.0, 400.0 + n / 10] for n in range(121)]
        result["soak"] = {"requests": 12345, "rss_mib": looks}
    text = service_tables.speed_table(result)
    assert "| 64 | yes | 5.0 | 12.0 | 1,180 |" in text
    told = (
        "10 minutes of eight clients that ask, add and forget (12,345 requests): 401 MiB at the start, 406 MiB in the"
    )
    assert (told in text) == bool(minutes)
