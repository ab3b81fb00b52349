from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.trainer import Trainer

from recbole_raserec import RaSeRec, SequenceDataset
from recbole_raserec.evaluation.metrics import Metrics, recbole_metrics
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.runtime import processes
from recbole_raserec.training import checkpoints
from recbole_raserec.training.backbone import pretrain
from recbole_raserec.training.build import build_model
from recbole_raserec.training.finetune import finetune
from recbole_raserec.training.rank import rank
from recbole_raserec.training.remember import BankSettings, Reader, Remembered, remember


@dataclass
class Trained:
    config: Any
    train: SequenceDataset
    test: SequenceDataset
    model: RaSeRec
    reader: Reader
    remembered: Remembered


@pytest.fixture(params=[0.0, 0.4], ids=["attention", "attention and mixture"])
def trained(make_config, request) -> Trained:
    config = make_config(mixture_weight=request.param, mixture_top_k=7)
    dataset = SequenceDataset(config)
    train, _, test = dataset.build()
    model = build_model(config, dataset)
    reader = Reader.of(config, model)
    pretrain(config, model, dataset)
    remembered = remember(reader, dataset.sequences, BankSettings.of(config))
    finetune(config, model, dataset.sha256, remembered)
    model.remember(remembered.memory)
    model.eval()
    return Trained(config, train, test, model, reader, remembered)


def every_row(part: SequenceDataset) -> Any:
    return part[torch.arange(len(part))]


def test_recboles_own_trainer_and_evaluator_give_our_figures(trained):
    """Stock RecBole scores through full_sort_predict, ranks by its collector; we rank cached vectors."""
    memory = trained.remembered.memory
    ours = rank(trained.reader, trained.test.sequences, memory, include_valid=False, block=16).ranks["train"].unmasked
    loader = FullSortEvalDataLoader(trained.config, trained.test, None)
    stock = Trainer(trained.config, trained.model).evaluate(loader, load_best_model=False)
    assert recbole_metrics(ours, Metrics.of(trained.config)) == pytest.approx(dict(stock), abs=1e-9)


def test_predict_augments_as_full_sort_predict_does(trained):
    batch = every_row(trained.test)
    full = trained.model.full_sort_predict(batch)
    own = full.gather(1, batch["item_id"][:, None])[:, 0]
    torch.testing.assert_close(trained.model.predict(batch), own)
    assert not torch.allclose(full, trained.model.backbone.full_sort_predict(batch))


def test_scores_do_not_depend_on_the_rest_of_the_batch(trained):
    whole = trained.model.full_sort_predict(every_row(trained.test))
    alone = trained.model.full_sort_predict(trained.test[[3]])
    torch.testing.assert_close(whole[3:4], alone, rtol=1e-4, atol=1e-5)


def test_fine_tuning_leaves_the_backbone_alone(trained):
    assert not any(p.requires_grad for p in trained.model.backbone.parameters())
    trained.model.train()
    assert trained.model.augmentation.training
    assert not trained.model.backbone.training  # no dropout in a frozen backbone
    name = checkpoints.fingerprint(trained.config.plain(), trained.train.sha256, "pretrain")
    saved = checkpoints.load(f"saved/tiny-SASRec-pretrain-{name}.pth", "cpu")
    for name, value in trained.model.backbone.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name]), name


def test_the_memory_holds_the_training_pairs(trained):
    memory, train = trained.remembered.memory, trained.train.prefixes
    assert np.array_equal(memory.targets, train.targets)
    batch = every_row(trained.train)
    vectors = trained.model(batch["item_id_list"], batch["item_length"])
    torch.testing.assert_close(torch.from_numpy(memory.keys), vectors, rtol=1e-4, atol=1e-5)


def test_calculate_loss_is_the_backbones_until_there_is_a_memory(tiny):
    config, _, model = tiny
    model.eval()
    batch = every_row(SequenceDataset(config).build()[0])
    expected = model.backbone.calculate_loss(batch)
    torch.testing.assert_close(model.calculate_loss(batch), expected)
    model.remember(MemoryBank(np.zeros((0, 16), np.float32), *(np.zeros(0, int) for _ in range(3))))
    # Nothing to retrieve: vectors stay as they are, and so does the loss.
    torch.testing.assert_close(model.calculate_loss(batch), expected)


def test_leaks_are_judged_by_the_real_length_not_recboles_cut_one(trained, monkeypatch):
    """RecBole cuts item_length to 8 here, but the user's own memories with longer prefixes are still earlier ones."""
    asked, search = [], MemoryBank.search

    def listening(memory, queries, users, lengths, k):
        asked.append(lengths)
        return search(memory, queries, users, lengths, k)

    monkeypatch.setattr(MemoryBank, "search", listening)
    trained.model.full_sort_predict(every_row(trained.test))
    assert np.array_equal(asked[0], trained.test.prefixes.lengths)
    assert asked[0].max() > 8


def test_memories_are_an_argument_and_leave_the_model_as_it_was(trained):
    batch = every_row(trained.test)
    before = trained.model.full_sort_predict(batch)
    rank(trained.reader, trained.test.sequences, trained.remembered.memory.older(0.5), False, block=16)
    assert torch.equal(trained.model.full_sort_predict(batch), before)


def test_under_recboles_own_processes_each_keeps_its_rows(trained, monkeypatch):
    """RecBole's run_recbole gives each process different rows. A model that divides them again would mix them up."""
    alone = trained.model.full_sort_predict(trained.test[[1, 2, 3]])
    monkeypatch.setattr(processes, "size", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    assert torch.equal(trained.model.full_sort_predict(trained.test[[1, 2, 3]]), alone)
