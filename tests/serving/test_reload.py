"""A newly trained model replaces the old one, or is refused, while requests are answered."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from recbole_raserec import Recommender
from tests.serving.conftest import TOKEN, Client

pytestmark = pytest.mark.parametrize("trained", ["attention"], indirect=True)
BODY = {"histories": [["i1", "i2"], ["i30"], []]}


def rewrite(source: Path, target: Path, part: str) -> None:
    """A model file like ``source``, in which the weights of ``part`` differ, replaces ``target``."""
    state = torch.load(source, weights_only=True)
    for name, weight in state["state_dict"].items():
        if name.startswith("backbone.") == (part == "backbone") and weight.dtype == torch.float32:
            weight += torch.linspace(-1, 1, weight.numel()).reshape(weight.shape)
    torch.save(state, target.with_suffix(".new"))
    os.replace(target.with_suffix(".new"), target)


def answers(service: Client) -> list:
    return [(answer["items"], answer["scores"]) for answer in service.post("/recommend", BODY)["answers"]]


def by_python(path: Path, store: Path) -> list:
    frame = Recommender.load(path, store=store).recommend(BODY["histories"])
    groups = [frame[frame["user"] == user] for user in range(3)]
    return [(group["item"].tolist(), group["score"].tolist()) for group in groups]


@pytest.fixture
def model(trained, tmp_path) -> Path:
    return Path(shutil.copy(trained.path, tmp_path / "model.pth"))


def test_a_model_of_the_same_backbone_is_loaded(serve_in_thread, model, trained, tmp_path):
    service = serve_in_thread(model_file=model, token=TOKEN)
    service.post("/remember", {"history": ["i1"], "next_item": "new", "owner": "anna"})
    assert service.ask("POST", "/reload") == (200, {"outcome": "unchanged"})
    old = answers(service)
    rewrite(trained.path, model, "head")
    assert answers(service) == old
    assert service.ask("POST", "/reload") == (200, {"outcome": "loaded"})
    assert answers(service) == by_python(model, tmp_path / "http.memory") != old
    assert service.ask("DELETE", "/owners/anna") == (200, {"forgotten": 1})
    assert 'raserec_reloads_total{outcome="loaded"} 1.0' in service.ask("GET", "/metrics")[1]


def test_another_backbone_is_refused_because_of_the_store(serve_in_thread, model, trained):
    service = serve_in_thread(model_file=model, token=TOKEN)
    service.post("/remember", {"history": ["i1"], "next_item": "new", "owner": "anna"})
    old = answers(service)
    for spoil in (lambda: rewrite(trained.path, model, "backbone"), lambda: model.write_bytes(b"?"), model.unlink):
        spoil()
        status, answer = service.ask("POST", "/reload")
        assert status == 409
        assert "the old model goes on" in answer["mend"]
        assert str(model) not in str(answer)
        assert answers(service) == old
    assert service.ask("DELETE", "/owners/anna") == (200, {"forgotten": 1})
    assert 'raserec_reloads_total{outcome="refused"} 3.0' in service.ask("GET", "/metrics")[1]


def test_a_store_that_was_replaced_is_told(serve_in_thread, model, tmp_path):
    service, store = serve_in_thread(model_file=model, token=TOKEN), tmp_path / "http.memory"
    service.post("/remember", {"history": ["i1"], "next_item": "i2", "owner": "anna"})
    store.with_suffix(".copy").write_bytes(store.read_bytes())
    store.with_suffix(".copy").replace(store)
    status, answer = service.ask("GET", "/health/ready")
    assert status == 503 and "replaced" in answer["problem"]
    assert service.ask("POST", "/remember", {"history": ["i1"], "next_item": "i2"})[0] == 503


def test_another_backbone_is_loaded_where_nothing_was_remembered(serve_in_thread, model, trained, tmp_path):
    service = serve_in_thread(model_file=model, token=TOKEN)
    rewrite(trained.path, model, "backbone")
    assert service.ask("POST", "/reload") == (200, {"outcome": "loaded"})
    assert answers(service) == by_python(model, tmp_path / "http.memory")


def test_a_signal_reloads_every_worker(serve_in_process, model, trained, tmp_path):
    process = serve_in_process("--workers=2", model_file=model, env={"RASEREC_TOKEN": TOKEN})
    service = Client(process.port, TOKEN)
    rewrite(trained.path, model, "head")
    process.process.send_signal(1)  # SIGHUP
    process.wait_for("reloaded", count=2)
    assert answers(service) == by_python(model, tmp_path / "http.memory")
    rewrite(model, model, "head")
    assert service.ask("POST", "/reload") == (200, {"outcome": "loaded"})  # one worker tells the other
    process.wait_for("reloaded", count=2)
    expected = by_python(model, tmp_path / "http.memory")
    assert [answers(service) for _ in range(8)] == [expected] * 8
    service.post("/remember", {"history": ["i1"], "next_item": "new"})
    rewrite(trained.path, model, "backbone")
    process.process.send_signal(1)
    refused = process.wait_for("reload refused", count=2)
    assert "another backbone" in refused[0]["error"]
    assert service.ask("GET", "/health/ready")[0] == 200
    assert process.stop() == 0
