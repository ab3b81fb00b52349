"""How fast a service lets memories be added, and the limits of the memory over HTTP."""

from __future__ import annotations

import time

import pytest

from recbole_raserec.serving.pace import Pace
from recbole_raserec.serving.problems import Refusal
from tests.serving.conftest import TOKEN

pytestmark = pytest.mark.parametrize("trained", ["attention"], indirect=True)
MEMORY = {"history": ["i1", "i2"], "next_item": "i3", "owner": "anna"}


def test_so_many_memories_a_minute(trained):
    now = [0.0]
    pace = Pace(6, lambda: now[0])
    pace.take(4)
    pace.take(4)  # two more than there were
    with pytest.raises(Refusal) as refused:
        pace.take(1)
    assert (refused.value.status, refused.value.retry_after) == (429, 30)
    now[0] = 29.5
    with pytest.raises(Refusal, match="try again in 1 seconds"):
        pace.take(1)
    now[0] = 30.0
    pace.take(1)
    now[0] = 10_000.0  # a pause gives one minute's, and no more
    pace.take(6)
    with pytest.raises(Refusal):
        pace.take(1)
    Pace(0).take(10**9)


def test_what_is_refused_is_not_counted(trained):
    pace = Pace(6, lambda: 0.0)
    pace.take(256)
    pace.give_back(256)
    pace.take(6)
    with pytest.raises(Refusal):
        pace.take(1)


def test_more_is_refused_with_429_and_adds_nothing(serve_in_thread):
    service = serve_in_thread(max_adds=1)
    count = service.ask("GET", "/health/ready")[1]["memories"]
    assert service.ask("POST", "/remember", [MEMORY, {**MEMORY, "history": ["nobody's"]}])[0] == 422
    service.post("/remember", [MEMORY, MEMORY])
    status, answer, headers = service.whole("POST", "/remember", MEMORY)
    assert status == 429 and "a minute" in answer["problem"]
    assert 60 < int(headers["Retry-After"]) <= 120
    assert service.ask("GET", "/health/ready")[1]["memories"] == count + 2
    service.post("/recommend", {"histories": [["i1"]]})


def test_the_limits_of_the_memory_hold_over_http(serve_in_thread):
    service = serve_in_thread(max_per_owner=2, quarantine=3600.0, new_item_owners=2, token=TOKEN)
    asked = {"histories": [["i1", "i2"]], "k": 60}
    before = service.post("/recommend", asked)
    service.post("/remember", [MEMORY] * 2)
    status, answer = service.ask("POST", "/remember", MEMORY)
    assert (status, answer["field"], answer["value"]) == (422, "owner", "anna")
    assert service.post("/recommend", asked) == before  # in quarantine
    assert service.ask("DELETE", f"/memories?added_since={time.time() + 1000}") == (200, {"forgotten": 0})
    assert service.ask("DELETE", "/memories?added_since=2020-01-01T00:00:00") == (200, {"forgotten": 2})
    assert service.ask("DELETE", "/memories")[0] == 422
    assert service.ask("DELETE", "/memories?added_since=soon")[0] == 422


def test_to_forget_by_time_needs_a_token(serve_in_thread):
    assert serve_in_thread().ask("DELETE", "/memories?added_since=0")[0] == 403
