"""What the service refuses, over a real socket: bad input, strangers, too much, and too slow."""

from __future__ import annotations

import json
import signal
import socket

import pytest

from recbole_raserec.serving import workers
from recbole_raserec.serving.settings import Settings
from tests.serving.conftest import TOKEN, services

pytestmark = pytest.mark.parametrize("trained", ["attention"], indirect=True)

DEEP = b"[" * 100_000
BAD = [
    (b"{", 400, "body"),
    (b"", 400, "body"),
    (b"\xff\xfe", 400, "body"),
    (b'{"histories": [["\xff"]]}', 400, "body"),
    (b'{"histories": [["i1", NaN]]}', 400, "body"),
    (b'{"histories": [["\\ud800"]]}', 400, "body"),
    (b'{"histories": [["i1"]], "k": 1, "k": 2}', 400, "body"),
    (b'{"histories": [["i1"]], "k": ' + b"9" * 5000 + b"}", 400, "body"),
    (DEEP, 400, "body"),
    (b"[]", 422, "body"),
    (b"null", 422, "body"),
    (b"{}", 422, "histories"),
    (b'{"histories": []}', 422, "histories"),
    (b'{"histories": "i1"}', 422, "histories"),
    (b'{"histories": ["i1"]}', 422, "histories[0]"),
    (b'{"histories": [["i1"], [1.5]]}', 422, "histories[1][0]"),
    (b'{"histories": [["i1", ""]]}', 422, "histories[0][1]"),
    (b'{"histories": [["i1", null]]}', 422, "histories[0][1]"),
    (b'{"histories": [[true]]}', 422, "histories[0][0]"),
    (b'{"histories": [[1e999]]}', 422, "histories[0][0]"),
    (b'{"histories": [["' + b"x" * 1001 + b'"]]}', 422, "histories[0][0]"),
    (b'{"histories": [["i1"], ["x9"]]}', 422, "histories[1]"),
    (b'{"histories": [[99999999999999999999999]]}', 422, "histories[0]"),
    (b'{"histories": [["i1"]], "users": []}', 422, "users"),
    (b'{"histories": [["i1"]], "users": [[]]}', 422, "users[0]"),
    (b'{"histories": [["i1"]], "k": 0}', 422, "k"),
    (b'{"histories": [["i1"]], "k": 1e2}', 422, "k"),
    (b'{"histories": [["i1"]], "k": 100}', 422, "k"),  # the limit allows it, and there are fewer items
    (b'{"histories": [["i1"]], "k": 201}', 422, "k"),
    (b'{"histories": [["i1"]], "k": true}', 422, "k"),
    (b'{"histories": [["i1"]], "items": ["x9"]}', 422, "items"),
    (b'{"histories": [["i1"]], "exclude": "i1"}', 422, "exclude"),
    (b'{"histories": [["i1"]], "on_unknown": "warn"}', 422, "on_unknown"),
    (b'{"histories": [["i1"]], "explain": 1}', 422, "explain"),
    (b'{"histories": [["i1"]], "\\u0000": 1}', 422, "\0"),
]


@pytest.fixture(scope="module")
def standing(trained, tmp_path_factory):
    """One service for all tests whose requests may change nothing, and the file of its memories."""
    store = tmp_path_factory.mktemp("standing") / "http.memory"
    with services(trained.path, store) as start:
        yield start(), store


@pytest.mark.parametrize(("body", "status", "field"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(standing, body, status, field):
    service, _ = standing
    found, answer = service.ask("POST", "/recommend", body)
    assert (found, answer["field"]) == (status, field), answer
    assert answer.keys() == {"field", "value", "problem", "mend"}
    assert answer["problem"]
    assert answer["mend"]
    assert service.post("/recommend", {"histories": [["i1"]]})["answers"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/remember", {"history": ["i1"]}, "next_item"),
        ("/remember", {"history": [], "next_item": "i1"}, "history"),
        ("/remember", {"history": ["x9"], "next_item": "i1"}, "history"),
        ("/remember", [], "body"),
        ("/remember", 5, "body"),
        ("/remember", [{"history": ["i1"], "next_item": "i2"}, {"history": ["x9"], "next_item": "i2"}], "[1].history"),
        ("/remember", {"history": ["i1"], "next_item": "i2", "time": "soon"}, "time"),
        ("/remember", {"history": ["i1"], "next_item": "i2", "time": True}, "time"),
        ("/remember", {"history": ["i1"], "next_item": "i2", "time": 10**400}, "time"),
        ("/remember", {"history": ["i1"], "next_item": None}, "next_item"),
        ("/remember", {"history": ["i1"], "next_item": "i2", "owner": ""}, "owner"),
        ("/explain", {"history": ["i1"], "item": "x9"}, "item"),
        ("/explain", {"history": ["x9"], "item": "i1"}, "history"),
        ("/similar", {"items": ["x9"]}, "items"),
        ("/similar", {"items": ["i1"], "k": 0}, "k"),
    ],
)
def test_bad_input_changes_nothing(standing, path, body, field):
    service, store = standing
    status, answer = service.ask("POST", path, body)
    assert (status, answer["field"]) == (422, field), answer
    assert not store.exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404), ("POST", "/recommend/", 404), ("GET", "/recommend", 405),
        ("OPTIONS", "/recommend", 405),
        ("DELETE", "/owners/", 422), ("DELETE", "/owners/%FF", 400), ("DELETE", "/owners/" + "x" * 1001, 422),
        ("GET", "/owners/a", 405), ("GET", "/items?limit=0", 422), ("GET", "/items?limit=1e9", 422),
        ("GET", "/items?limit=%D9%A1", 422), ("GET", "/items?search=" + "x" * 201, 422), ("POST", "/reload", 403),
        ("DELETE", "/memories?added_since=0", 403), ("GET", "/memories", 405),
    ],
)  # fmt: skip
def test_other_requests_are_refused(standing, method, path, status):
    service, _ = standing
    found, answer = service.ask(method, path)
    assert found == status
    assert answer["mend"]


def test_what_is_not_http_is_refused(service):
    assert service.raw(b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert service.raw(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")  # no host
    assert json.loads(service.raw(b"GET / HTTP/9.9\r\n\r\n").partition(b"\r\n\r\n")[2])["mend"]
    assert service.ask("GET", "/health/live") == (200, {"status": "alive"})


def test_another_type_and_another_host_are_refused(service):
    body = b'{"histories": [["i1"]]}'
    assert service.ask("POST", "/recommend", body, Content_Type="text/plain")[0] == 415  # a page of another site
    assert service.ask("POST", "/recommend", body, Content_Type="application/json; charset=utf-8")[0] == 200
    assert service.ask("POST", "/recommend", body, Host="evil.example")[0] == 403
    assert service.ask("GET", "/", Host="localhost:1234")[0] == 200
    assert service.ask("GET", "/", Host="[::1]:1234")[0] == 200


def test_the_token_opens_all_but_what_tells_nothing(serve_in_thread):
    service = serve_in_thread(token=TOKEN)
    assert service.ask("GET", "/health/ready")[0] == 200
    for wrong in ("", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é"):
        status, answer, headers = service.whole(
            "GET", "/health/ready", Authorization=wrong.encode("utf-8").decode("latin1")
        )
        assert status == 401, wrong
        assert answer["field"] == "Authorization"
        assert headers["WWW-Authenticate"] == "Bearer"
    service.token = ""
    for method, path in (("GET", "/items"), ("GET", "/metrics"), ("DELETE", "/owners/a"), ("POST", "/reload")):
        assert service.ask(method, path)[0] == 401
    assert service.ask("POST", "/recommend", {"histories": [["i1"]]})[0] == 401
    for path in ("/", "/docs", "/openapi.json", "/health/live"):
        assert service.ask("GET", path)[0] == 200
    assert service.ask("GET", "/health/live", Host="anything.example")[0] == 200  # the token guards


def test_limits(serve_in_thread):
    limits = {"max_body": 5000, "max_batch": 3, "max_history": 10, "max_k": 5}
    service = serve_in_thread(limits=limits)
    for body, field in (
        ({"histories": [["i1"]] * 4}, "histories"),
        ({"histories": [["i1"], ["i1"] * 11]}, "histories[1]"),
        ({"histories": [["i1"]], "k": 6}, "k"),
    ):
        status, answer = service.ask("POST", "/recommend", body)
        assert (status, answer["field"]) == (422, field)
        assert answer["mend"].startswith("give at most")
    assert service.ask("POST", "/similar", {"items": ["i1"] * 4})[0] == 422
    assert service.ask("POST", "/remember", [{"history": ["i1"], "next_item": "i1"}] * 4)[0] == 422
    assert service.ask("POST", "/recommend", {"histories": [["i1"] * 10] * 3, "k": 5})[0] == 200


def test_a_history_of_a_million_items_is_refused(service):
    status, answer = service.ask("POST", "/recommend", {"histories": [["i1"] * 10**6]})
    assert (status, answer["field"]) == (413, "body")
    status, answer = service.ask("POST", "/recommend", b'{"histories": [[' + b"1," * 10**5 + b"1]]}")
    assert (status, answer["field"]) == (422, "histories[0]")


def test_a_large_body_is_refused_before_it_is_read(service):
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head + b"Content-Length: 1000000000\r\n\r\n")  # and nothing of it
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall((b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 17)  # and no end
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_slow_clients_are_cut(serve_in_thread):
    service = serve_in_thread(limits={"timeout": 1})
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert service.raw(head) == b""  # no end of the head; the service closes, or this waits for ever
    assert service.raw(b"") == b""
    answer = service.raw(head + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"field":"body"' in answer
    answer = service.raw(head + b"Content-Length: 1000000000\r\n\r\n")  # refused early, and then nothing comes
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert service.ask("GET", "/health/live")[0] == 200


def test_a_store_that_fails_is_not_the_clients_fault(service, tmp_path):
    service.post("/remember", {"history": ["i1"], "next_item": "i2"})
    (tmp_path / "http.memory").chmod(0o444)
    status, answer, headers = service.whole("POST", "/remember", {"history": ["i1"], "next_item": "i2"})
    assert (status, answer["field"], answer["value"]) == (503, "memory store", None)
    assert headers["Retry-After"] == "1"
    assert service.ask("GET", "/health/live")[0] == 200


def test_too_many_requests_at_once_are_told_to_come_again(service, monkeypatch):
    body = {"history": ["i1"], "item": "i2"}
    assert service.ask("POST", "/explain", body)[0] == 200
    monkeypatch.setattr("recbole_raserec.serving.service._MOST_TASKS", 0)
    status, answer, headers = service.whole("POST", "/explain", body)
    assert (status, answer["field"], headers["Retry-After"]) == (503, "service", "1")
    assert service.ask("GET", "/health/live")[0] == 200


def test_a_service_that_stops_is_not_ready_and_keeps_no_connection(service):
    service.server.stopping = True
    status, answer, headers = service.whole("GET", "/health/ready")
    assert (status, answer["problem"], headers["Connection"]) == (503, "it is stopping", "close")
    service.server.stopping = False
    assert service.ask("GET", "/health/ready")[0] == 200


@pytest.mark.parametrize(("host", "token", "warned"), [("0.0.0.0", "", 1), ("0.0.0.0", TOKEN, 0), ("localhost", "", 0)])
def test_an_open_address_without_a_token_is_told(trained, tmp_path, monkeypatch, host, token, warned):
    logged = []
    monkeypatch.setattr(workers, "work", lambda settings, listening, started: listening.close())
    monkeypatch.setattr(workers, "start_logging", lambda: None)
    monkeypatch.setattr(workers, "log", lambda event, level, **facts: logged.append((event, facts)))
    before = signal.getsignal(signal.SIGHUP)
    try:
        workers.serve(Settings(str(trained.path), str(tmp_path / "m"), host=host, port=0, token=token))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [facts for event, facts in logged if event.startswith("no token")] == [{"host": host}] * warned
