"""The file of a trained model: weights, memory and names. It needs neither the data set nor pickle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recbole_raserec.backbones.sizes import Sizes
from recbole_raserec.config.parameters import NEWER
from recbole_raserec.data.titles import read_titles
from recbole_raserec.errors import ConfigError
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.combination import Combination
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.mixture import Mixture
from recbole_raserec.retrieval.names import Names
from recbole_raserec.training import checkpoints

if TYPE_CHECKING:  # what only a run needs takes a second to import
    from recbole_raserec.config.config import Config
    from recbole_raserec.data.dataset import SequenceDataset

FIELD = "model_file"
_MEND = "give one that `recbole-raserec run` wrote (its result file names it as model_file)"


@dataclass(frozen=True)
class TrainedModel:
    """What a file of a trained model holds.

    Attributes
    ----------
    model : with its weights and combination, in evaluation mode.
    memory : the bank that the headline figures are of.
    users, items : numbers of the tokens that the model knows.
    titles : title of each item [V]; empty where the data set has none.
    counts : [V] training interactions of each item.
    user_num : number of user ids that the backbone knows, with padding.
    digest : identifies the backbone that made the keys.
    """

    model: RaSeRec
    memory: MemoryBank
    users: Names
    items: Names
    titles: list[str]
    counts: np.ndarray
    user_num: int
    digest: str

    def title(self, item: int) -> str:
        """The title of an item; its token where the data has no title."""
        return (self.titles[item] if item < len(self.titles) else "") or self.items.tokens[item]


def save_model(config: Config, model: RaSeRec, memory: MemoryBank, dataset: SequenceDataset) -> Path:
    """Write the file into ``checkpoint_dir``. Its name depends on the data, the backbone and the parameters."""
    name = checkpoints.fingerprint(
        config.plain(), checkpoints.finetune_source(model.backbone, dataset.sha256), "raserec"
    )
    path = Path(config["checkpoint_dir"]) / f"{config['dataset']}-{config['model']}-{config['backbone']}-{name}.pth"
    sequences, items = dataset.sequences, _tokens(dataset, dataset.iid_field)
    titles = read_titles(Path(dataset.dataset_path), dataset.dataset_name)
    checkpoints.save(
        path,
        {
            "stage": "raserec",
            "config": config.plain(),
            "data_sha256": dataset.sha256,
            "state_dict": model.state_dict(),
            "memory": memory.tensors(),
            **model.combination.plain(),
            "item_tokens": items,
            "item_titles": [titles.get(token, "") for token in items],
            "item_counts": torch.from_numpy(sequences.training_counts(len(items))),
            "user_tokens": _tokens(dataset, dataset.uid_field)[: int(sequences.users[: sequences.original].max()) + 1],
            "user_num": dataset.user_num,
        },
    )
    logging.getLogger().info(f"model and memory: {path}")
    return path


def load_model(path: str | Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read the file that :func:`save_model` wrote. Nothing else is read, and nothing in the file is executed.

    Raises
    ------
    ConfigError : the file is missing, damaged, not one of a trained model, or of an earlier version.
    """
    state = checkpoints.load(path, device, FIELD)
    if state.get("stage") != "raserec":
        raise ConfigError(FIELD, str(path), f"it holds stage {state.get('stage')}, not a trained RaSeRec", _MEND)
    if "user_tokens" not in state:
        problem = "an earlier version wrote it, without the users' names"
        raise ConfigError(FIELD, str(path), problem, "run the same command again with --resume=True")
    try:
        return _rebuild(state, device)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        problem = f"its parts do not fit together ({' '.join(str(error).split())[:200]})"
        raise ConfigError(FIELD, str(path), problem, _MEND) from error


def _rebuild(state: dict[str, Any], device: torch.device | str) -> TrainedModel:
    config = _SavedConfig(state["config"], device=torch.device(device))
    items = Names(state["item_tokens"])
    model = RaSeRec(config, Sizes(config, state["user_num"], len(items)))  # type: ignore[arg-type]
    model.load_state_dict(state["state_dict"])
    model.count_items(state["item_counts"])
    # Files of earlier versions have only the mixture.
    how = {name: state[name] for name in ("strength", "adjustment") if name in state}
    model.combination = Combination(Mixture(**state["mixture"]), **how)
    model.freeze_backbone()
    columns = {name: column.cpu().numpy() for name, column in state["memory"].items()}
    memory = MemoryBank(**columns, index_factory=config["index_factory"], index_nprobe=config["index_nprobe"])
    return TrainedModel(
        model=model.to(device).eval(),
        memory=memory,
        users=Names(state["user_tokens"]),
        items=items,
        titles=state["item_titles"],
        counts=state["item_counts"].cpu().numpy(),
        user_num=state["user_num"],
        digest=checkpoints.weights_digest(model.backbone.state_dict()),
    )


class _SavedConfig(dict):
    """The parameters of a file, in the form that RecBole's models read.

    One that is newer than the file has the value that changes nothing. Any other missing one is None.
    """

    def __init__(self, values: dict[str, Any], **others: Any) -> None:
        super().__init__(values, **others)

    def __missing__(self, name: str) -> Any:
        return NEWER.get(name)


def _tokens(dataset: SequenceDataset, field: str) -> list[str]:
    return [str(token) for token in dataset.field2id_token[field]]


def checkpoints_mib(model: RaSeRec, dataset: SequenceDataset) -> float:
    """Size of all checkpoints in MiB: best, last (with Adam's two moments), the ones before, final with the memory."""
    weights = sum(p.numel() for p in model.parameters())
    memory = len(dataset.sequences.items) * (model.item_vectors.shape[1] + 4)
    return 4 * (9 * weights + memory) / 2**20 + 1
