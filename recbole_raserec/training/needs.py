"""What a run needs at least of the machine, told before the first epoch."""

from __future__ import annotations

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.evaluation.ranking import rows_at_once
from recbole_raserec.model import RaSeRec
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.room import check_free

_MOMENTS = {"adam": 2, "adamw": 2, "adagrad": 1, "rmsprop": 1, "sgd": 0}  # numbers that an optimiser keeps of a weight


def check_memory(config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
    """Raise ConfigError if less memory is free than the run needs at least beside the model.

    It needs gradients and the optimiser's moments, unless the backbone is trained already. It needs the key of each
    training pair, the numbers of the memories of each training and validation pair, and the keys of those of a batch.
    Batches need more, which depends on the data. The error names the parameter that needs the most.
    """
    trained = model.augmentation if config["pretrained"] else model
    weights = sum(parameter.numel() for parameter in trained.parameters())
    width = model.item_vectors.shape[1]
    train, valid = len(dataset.sequences.train_part(generated=False)), len(dataset.sequences.valid_part())
    batch = min(train, config["finetune_batch_size"]) // processes.size()
    block = min(valid, rows_at_once(model.item_vectors, config["eval_batch_size"]))
    of_batches = batch * width * model.top_k, block * width * model.depth
    numbers = {
        "hidden_size": weights * (1 + _MOMENTS[config["learner"]]) + train * width,
        "top_k": train * model.top_k + of_batches[0],
        "mixture_top_k": valid * model.depth + of_batches[1],
    }
    largest = max(numbers, key=lambda name: numbers[name])
    if largest == "mixture_top_k" and model.depth == model.top_k:  # no mixture reads more
        largest = "top_k"
    needed = sum(numbers.values()) - min(of_batches)  # a batch and a block are never there at once
    check_free(4 * needed / 2**20, str(config["device"]), largest, config[largest])
