"""The file of a trained model: weights, memory and item names. It needs neither the data set nor pickle."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.training import checkpoints
from recbole_raserec.training.finetune import finetune_source


def save_model(config: Config, model: RaSeRec, memory: MemoryBank, dataset: SequenceDataset) -> Path:
    """Write the file into ``checkpoint_dir``. Its name depends on the data, the backbone and the parameters."""
    name = checkpoints.fingerprint(config.plain(), finetune_source(model, dataset.sha256), "raserec")
    path = Path(config["checkpoint_dir"]) / f"{config['dataset']}-{config['model']}-{config['backbone']}-{name}.pth"
    checkpoints.save(
        path,
        {
            "stage": "raserec",
            "config": config.plain(),
            "data_sha256": dataset.sha256,
            "state_dict": model.state_dict(),
            "memory": memory.tensors(),
            "mixture": asdict(model.mixture),
            "item_tokens": [str(token) for token in dataset.field2id_token[dataset.iid_field]],
        },
    )
    logging.getLogger().info(f"model and memory: {path}")
    return path


def checkpoints_mib(model: RaSeRec, dataset: SequenceDataset) -> float:
    """Size of all checkpoints in MiB: best, last (with Adam's two moments), and final with the memory."""
    weights = sum(p.numel() for p in model.parameters())
    memory = len(dataset.sequences.items) * (model.item_vectors.shape[1] + 4)
    return 4 * (5 * weights + memory) / 2**20 + 1
