"""ONNX files give onnxruntime the scores that torch has. `make test-all` installs the packages for the slow tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from recbole_raserec import Config, ConfigError, SequenceDataset
from recbole_raserec.backbones import build_backbone
from recbole_raserec.backbones.heads import InnerProduct
from recbole_raserec.backbones.sasrec import attention_blocks
from recbole_raserec.backbones.stack import Stack
from recbole_raserec.data.histories import read_histories
from recbole_raserec.recommending import onnx_file
from recbole_raserec.recommending.request import numbered

EXPORTED = {
    "SASRec": {},
    "DuoRec": {},
    "SASRec with averages and cosines": {"backbone": "SASRec", "average_weight": 0.6, "score_tau": 0.2},
    "DuoRec with averages and cosines": {"backbone": "DuoRec", "average_weight": 0.6, "score_tau": 0.2},
    **{name: {} for name in ("BERT4Rec", "GRU4Rec", "LightSANs", "NARM", "NextItNet", "SINE")},
}
REFUSED = {
    "Caser": "its scores depend on the user",
    "FOSSIL": "its scores depend on the user",
    "HRM": "its scores depend on the user",
    "SHAN": "its scores depend on the user",
    "GCSAN": "cannot export it",
    "SRGNN": "cannot export it",
}


@pytest.fixture
def make_backbone(tiny_data):
    """An untrained backbone with its default sizes, and the items' tokens."""

    def make(backbone: str, **values):
        fixed = {"data_path": str(tiny_data), "show_progress": False, "MAX_ITEM_LIST_LENGTH": 8}
        config = Config("RaSeRec", "tiny", config_dict={**fixed, "backbone": backbone, **values})
        dataset = SequenceDataset(config)
        dataset.build()
        made = build_backbone(config, dataset).eval()
        if made.item_bias is not None:
            nn.init.normal_(made.item_bias)
        return made, [str(token) for token in dataset.field2id_token[dataset.iid_field]]

    return make


def open_file(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def outputs(session, histories: list[list[int]], batch: int) -> list[np.ndarray]:
    """Scores and user vectors of all histories, ``batch`` at once."""
    length, found = session.get_inputs()[0].shape[1], []
    for start in range(0, len(histories), batch):
        rows = histories[start : start + batch]
        item_seq = np.array([row + [0] * (length - len(row)) for row in rows], np.int64)
        lengths = np.array([len(row) for row in rows], np.int64)
        found.append(session.run(["scores", "user"], {"item_seq": item_seq, "item_seq_len": lengths}))
    return [np.concatenate(columns) for columns in zip(*found)]


def check_outputs(session, backbone, histories: list[list[int]]) -> None:
    """Each history gets the scores that it has by itself in torch, whatever the batch."""
    with torch.no_grad():
        single = [(torch.tensor([row]), torch.tensor([len(row)])) for row in histories]
        users = torch.cat([backbone(*columns, torch.zeros(1, dtype=torch.long)) for columns in single])
        scores = users @ backbone.item_vectors.T
        if backbone.item_bias is not None:
            scores += backbone.item_bias
    for batch in (1, 3, 16):
        for found, expected in zip(outputs(session, histories, batch), (scores, users)):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.slow
def test_scores_are_those_of_the_trained_backbone(recommender, histories, tmp_path, capfd):
    path = tmp_path / "new" / "walks.onnx"
    assert recommender.export_onnx(str(path)) == path
    assert capfd.readouterr() == ("", "")
    assert [each.name for each in path.parent.iterdir()] == ["walks.onnx"]
    session, view = open_file(path), recommender.view()
    assert [(each.name, each.type, each.shape) for each in (*session.get_inputs(), *session.get_outputs())] == [
        ("item_seq", "tensor(int64)", ["batch", 8]),
        ("item_seq_len", "tensor(int64)", ["batch"]),
        ("scores", "tensor(float)", ["batch", 61]),
        ("user", "tensor(float)", ["batch", 16]),
    ]
    tokens = json.loads(session.get_modelmeta().custom_metadata_map["items"])
    assert tokens == ["[PAD]", *recommender.items]
    cut = [[tokens.index(item) for item in history[-8:]] for history in histories if history]
    check_outputs(session, view.trained.model.backbone, cut)
    known = [history for history in histories if history]
    request = numbered(read_histories(known, None), view.trained.items, view.trained.users, "raise")
    np.testing.assert_allclose(outputs(session, cut, 16)[1], view.encode(request), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_file_has_the_items_of_training_and_no_path_of_this_machine(recommender, tmp_path):
    path = recommender.export_onnx(tmp_path / "walks.onnx")
    recommender.memory.add(["i1", "i2"], "new item")
    assert recommender.items[-1] == "new item"
    again = recommender.export_onnx(tmp_path / "again.onnx")
    assert path.read_bytes() == again.read_bytes()
    assert b".py" not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_backbones_export(make_backbone, tmp_path, name, capfd):
    backbone, tokens = make_backbone(**{"backbone": name, **EXPORTED[name]})
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    capfd.readouterr()
    path = onnx_file.write(backbone, tokens, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    rng = np.random.default_rng(1)
    histories = [rng.integers(1, len(tokens), rng.integers(1, 9)).tolist() for _ in range(200)]
    check_outputs(open_file(path), backbone, histories)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_told_why(make_backbone, tmp_path, name, capfd):
    backbone, tokens = make_backbone(name)
    capfd.readouterr()
    refused(backbone, tokens, tmp_path / "model.onnx", f"backbone='{name}': .*{REFUSED[name]}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_stack_that_reads_padding_is_refused(make_config, make_backbone, tmp_path):
    config, (plain, tokens) = make_config(), make_backbone("SASRec")
    dataset = SequenceDataset(config)
    dataset.build()
    blocks = attention_blocks(config)
    blocks[0].layer.causal = False
    stack = Stack(config, dataset, plain.item_embedding, plain.position_embedding, blocks, InnerProduct())
    refused(stack, tokens, tmp_path / "model.onnx", "not causal")


@pytest.mark.slow
def test_a_file_with_other_scores_is_not_written(make_backbone, tmp_path, monkeypatch):
    exported = onnx_file._exported

    def wrong(backbone, name):
        with torch.no_grad():
            backbone.position_embedding.weight[3, 0] += 0.1
        return exported(backbone, name)

    monkeypatch.setattr(onnx_file, "_exported", wrong)
    backbone, tokens = make_backbone("SASRec")
    refused(backbone, tokens, tmp_path / "model.onnx", "differs from torch's by")


@pytest.mark.slow
def test_a_model_that_is_too_large_is_refused_at_once(make_backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_LARGEST", 1000)
    refused(*make_backbone("SASRec"), tmp_path / "model.onnx", "an ONNX file holds 2")


def refused(backbone, tokens: list[str], path: Path, says: str) -> None:
    path.write_bytes(b"an earlier file")
    there = sorted(path.parent.iterdir())
    with pytest.raises(ConfigError, match=says) as error:
        onnx_file.write(backbone, tokens, path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500
    assert sorted(path.parent.iterdir()) == there
    assert path.read_bytes() == b"an earlier file"


@pytest.mark.parametrize("gone", [("onnxruntime",), ("onnx", "onnxscript", "onnxruntime")])
def test_a_missing_package_is_one_clear_error(recommender, tmp_path, monkeypatch, gone):
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None if name in gone else name)
    with pytest.raises(ConfigError) as error:
        recommender.export_onnx(tmp_path / "new" / "model.onnx")
    assert str(error.value) == (f"export_onnx: not installed: {', '.join(gone)}. pip install 'recbole-raserec[onnx]'.")
    assert not (tmp_path / "new").exists()


def test_an_old_torch_is_one_clear_error(recommender, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", str)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ConfigError, match=r"torch='2\.5\.1\+cpu': export needs 2\.6 or later"):
        recommender.export_onnx(tmp_path / "model.onnx")
