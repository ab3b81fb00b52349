"""A new model, after everything is checked that the data and the machine can refuse."""

from __future__ import annotations

import torch
from recbole.utils import init_seed

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.errors import ConfigError
from recbole_raserec.model import RaSeRec
from recbole_raserec.runtime.files import check_writable
from recbole_raserec.runtime.room import out_of_memory
from recbole_raserec.training.model_file import checkpoints_mib
from recbole_raserec.training.needs import check_memory
from recbole_raserec.training.remember import BankSettings, check_bank

_WEIGHT_OF = {"patterns": "pattern_weight", "decoded": "decode_weight"}


def build_model(config: Config, data: SequenceDataset) -> RaSeRec:
    """A new model with seeded weights. Raise ConfigError or DataError if it, or what follows, cannot be."""
    check_bank(data.sequences, BankSettings.of(config))
    init_seed(config["seed"], config["reproducibility"])  # here, because regeneration may have used random numbers
    with out_of_memory("model"):
        model = RaSeRec(config, data).to(config["device"])
    _check(config, data, model)
    return model


def check_model(config: Config, data: SequenceDataset) -> None:
    """Raise what :func:`build_model` would raise, without a model on the device."""
    check_bank(data.sequences, BankSettings.of(config))
    with out_of_memory("model"):
        model = RaSeRec(config.changed(device=torch.device("cpu")), data)
    _check(config, data, model)


def _check(config: Config, data: SequenceDataset, model: RaSeRec) -> None:
    if not model.backbone.causal and config["regenerate"] is not None and config["pretrained"] is None:
        _check_no_weights(config)
    check_writable("checkpoint_dir", config["checkpoint_dir"], checkpoints_mib(model, data))
    check_memory(config, model, data)


def _check_no_weights(config: Config) -> None:
    """Raise ConfigError if pairs have weights, which a backbone's own loss on prefixes does not support."""
    problem = f"{config['backbone']} trains prefix by prefix, without weights"
    if config["regenerate"] == "DR4SR+":
        mend = "use DR4SR, or a backbone that trains on whole windows (docs/backbones.md)"
        raise ConfigError("regenerate", "DR4SR+", problem, mend)
    for part, name in _WEIGHT_OF.items():
        if part in config["regenerate_parts"] and config[name] != 1:
            raise ConfigError(name, config[name], problem, f"leave it out, or leave {part} out of regenerate_parts")
