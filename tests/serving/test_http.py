"""The endpoints, over a real socket."""

from __future__ import annotations

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest

from recbole_raserec import Recommender
from tests.serving.conftest import TOKEN

pytestmark = pytest.mark.parametrize("trained", ["attention"], indirect=True)


def test_what_is_remembered_is_recommended_until_it_is_forgotten(service, trained, tmp_path):
    def recommended():
        return service.post("/recommend", {"histories": [["i3", "i4"]], "k": 30})["answers"][0]["items"]

    one = {"history": ["i3", "i4"], "next_item": "new", "owner": "a/b ü", "time": "2024-01-02"}
    first = service.post("/remember", one)["ids"]
    more = service.post("/remember", [{**one, "owner": 7, "time": 5.5}, {"history": ["i3"], "next_item": "i1"}])["ids"]
    assert len({*first, *more}) == 3
    assert "new" in recommended()
    assert service.ask("GET", "/items?search=new")[1]["items"] == [{"item": "new", "title": "new"}]
    durable = Recommender.load(trained.path, store=tmp_path / "http.memory")
    before = len(durable.memory)
    assert service.ask("DELETE", "/owners/a%2Fb%20%C3%BC") == (200, {"forgotten": 1})
    assert service.ask("DELETE", "/owners/7") == (200, {"forgotten": 1})
    assert service.ask("DELETE", "/owners/7") == (200, {"forgotten": 0})
    assert "new" not in recommended()
    durable.memory.refresh()
    assert len(durable.memory) == before - 2
    durable.memory.close()


def test_concurrent_writers_lose_nothing(service):
    def add(number):
        body = [{"history": ["i1"], "next_item": "i2", "owner": f"o{number}"}] * (number % 3 + 1)
        return service.post("/remember", body)["ids"]

    before = service.ask("GET", "/health/ready")[1]["memories"]
    with ThreadPoolExecutor(8) as clients:
        ids = [one for some in clients.map(add, range(60)) for one in some]
    assert len(set(ids)) == len(ids) == 120
    assert service.ask("GET", "/health/ready")[1]["memories"] == before + 120


def test_odd_tokens_are_kept_as_they_are(service):
    for owner in ("\0", "é" * 1000, "a\nb", "../..", "%2F", "🙂", "?x=1", "#"):
        service.post("/remember", {"history": ["i1"], "next_item": owner, "owner": owner})
        path = "/owners/" + "".join(f"%{byte:02X}" for byte in owner.encode())
        assert service.ask("DELETE", path) == (200, {"forgotten": 1})


def test_items_are_found_by_words_of_their_titles(service):
    found = service.ask("GET", "/items?search=%20NUMBER%20it%C3%A9m%205&limit=30")[1]["items"]
    assert found[0] == {"item": "i5", "title": "Item number 5"}  # the whole word first
    assert {each["item"] for each in found} == {f"i{n}" for n in range(60) if "5" in str(n)}
    assert len(service.ask("GET", "/items?search=5&limit=3")[1]["items"]) == 3
    assert service.ask("GET", "/items?search=item%20number%2059")[1]["items"][0]["item"] == "i59"
    assert len(service.ask("GET", "/items")[1]["items"]) == 20
    assert service.ask("GET", "/items?search=zebra")[1]["items"] == []


def test_an_answer_does_not_wait_for_an_acknowledgement(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        (found,) = service.server.server_state.connections
        own = found.transport.get_extra_info("socket")
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_several_requests_on_one_connection(service):
    one = b'{"histories": [["i1"]]}'
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 23\r\n"
    answers = service.raw((head + b"\r\n" + one) * 2 + head + b"Connection: close\r\n\r\n" + one)
    assert answers.count(b"HTTP/1.1 200 ") == 3


def test_a_fault_of_the_service_is_told_without_its_values(service, monkeypatch, caplog):
    def fail(*_, **__):
        raise KeyError("secret-history")

    monkeypatch.setattr(Recommender, "explain", fail)
    with caplog.at_level(logging.INFO):
        status, answer, headers = service.whole("POST", "/explain", {"history": ["i1"], "item": "i2"})
    assert status == 500
    assert headers["X-Request-ID"] in answer["mend"]
    assert service.post("/recommend", {"histories": [["i1"]]})["answers"]
    service.stop()
    assert "secret" not in written(caplog)
    assert "KeyError" in written(caplog)


def written(caplog) -> str:
    from recbole_raserec.serving.logs import JsonLines

    return "\n".join(JsonLines().format(record) for record in caplog.records)


@pytest.mark.parametrize("asked", [False, True])
def test_the_log_has_no_history_unless_asked(serve_in_thread, caplog, asked):
    service = serve_in_thread(log_histories=asked)
    with caplog.at_level(logging.INFO):
        service.post("/recommend", {"histories": [["i41"]]})
        service.post("/remember", {"history": ["i41"], "next_item": "i2", "owner": "owner-41"})
        service.ask("DELETE", "/owners/owner-41")
        service.ask("POST", "/recommend", {"histories": [["x41"]]})
        service.ask("GET", "/items?search=x41")
        service.stop()
    entries = [json.loads(line) for line in written(caplog).splitlines()]
    found = [(entry["endpoint"], entry["status"]) for entry in entries if entry["event"] == "request"]
    assert found == [("recommend", 200), ("remember", 200), ("forget", 200), ("recommend", 422), ("items", 200)]
    assert ("41" in "".join(json.dumps(entry.get("body", "")) for entry in entries)) == asked
    plain = [
        {name: entry[name] for name in entry.keys() - {"body", "time", "ms", "process", "request"}}  # any digits
        for entry in entries
        if entry["event"] == "request"
    ]
    assert "41" not in json.dumps(plain)


def test_metrics_count(service):
    service.post("/recommend", {"histories": [["i1"]] * 3})
    service.ask("POST", "/recommend", b"{")
    memories = service.ask("GET", "/health/ready")[1]["memories"]
    status, page = service.ask("GET", "/metrics")
    assert status == 200
    assert 'raserec_requests_total{endpoint="recommend",status="200"} 1.0' in page
    assert 'raserec_requests_total{endpoint="recommend",status="400"} 1.0' in page
    assert "raserec_batch_histories_sum 3.0" in page
    assert f"raserec_memories {memories}.0" in page
    assert "process_resident_memory_bytes" in page


def test_the_examples_of_the_openapi_page_run_and_fit_it(serve_in_thread):
    service = serve_in_thread(token=TOKEN)
    _, page = service.ask("GET", "/openapi.json")
    ran = 0
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            if path == "/reload":
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                jsonschema.validate(body["example"], body["schema"])
            query = []
            for each in operation.get("parameters", []):
                path = path.replace(f"{{{each['name']}}}", str(each["example"]))
                query += [f"{each['name']}={each['example']}"] if each["in"] == "query" else []
            address = path + ("?" + "&".join(query) if query else "")
            status, answer = service.ask(method.upper(), address, body and body["example"])
            assert status == 200, (path, answer)
            kind, content = next(iter(operation["responses"]["200"]["content"].items()))
            if kind == "application/json":
                jsonschema.validate(answer, content["schema"])
            ran += 1
    assert ran == 10


def test_pages_run_only_their_own_script(service):
    for path in ("/", "/docs"):
        status, page, headers = service.whole("GET", path)
        policy = headers["Content-Security-Policy"]
        assert status == 200
        assert "default-src 'none'" in policy
        assert policy.count("'sha256-") == 2
        assert "unsafe" not in policy
        assert "http" not in page.replace("http://127", "").replace("http-", "").lower().split("<body>")[0]
        assert "innerHTML" not in page
