"""What a run needs at least of the machine, told before the first epoch."""

from __future__ import annotations

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.model import RaSeRec
from recbole_raserec.runtime.room import check_free

_MOMENTS = {"adam": 2, "adamw": 2, "adagrad": 1, "rmsprop": 1, "sgd": 0}  # numbers that an optimiser keeps of a weight


def check_memory(config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
    """Raise ConfigError if less memory is free than the run needs at least beside the model.

    It needs gradients and the optimiser's moments, unless the backbone is trained already, and for each training pair
    its key and the numbers of its memories. Batches need more, which depends on the data.
    """
    trained = model.augmentation if config["pretrained"] else model
    weights = sum(parameter.numel() for parameter in trained.parameters())
    pairs = len(dataset.sequences.train_part(generated=False))
    numbers = weights * (1 + _MOMENTS[config["learner"]]) + pairs * (model.item_vectors.shape[1] + model.top_k)
    check_free(4 * numbers / 2**20, str(config["device"]), "hidden_size", config["hidden_size"])
