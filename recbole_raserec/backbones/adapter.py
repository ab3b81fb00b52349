"""Any RecBole sequential model as a backbone: one sample a prefix, its own loss, its own parameters."""

from __future__ import annotations

import inspect
from typing import Any

import recbole.model.sequential_recommender as recbole_models
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_raserec.errors import ConfigError

# What a model's ``forward`` may ask for, under the names that RecBole's models give it.
_ARGUMENTS = {
    "item_seq": "item_seq", "seq_item": "item_seq", "item_seq_len": "item_seq_len", "seq_item_len": "item_seq_len",
    "user": "users",
}  # fmt: skip
# Models whose output does not depend on how much padding follows a history.
_TRIMMED = {"GRU4Rec", "NARM", "STAMP"}


def recbole_backbones() -> list[str]:
    """Names of RecBole's sequential models, whether or not they can serve."""
    return sorted(
        name
        for name, value in vars(recbole_models).items()
        if inspect.isclass(value) and issubclass(value, SequentialRecommender) and value is not SequentialRecommender
    )


class Adapter(nn.Module):
    """A stock RecBole model with the face of a backbone.

    Attributes
    ----------
    model : RecBole's.
    trims : whether batches may be cut to their longest history.

    Raises
    ------
    ConfigError : the model needs something that a backbone is not given, or has no item vectors to score with.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        name = config["backbone"]
        kind = getattr(recbole_models, name)
        self.arguments = _arguments_of(name, kind)
        if config["loss_type"] != "CE":
            raise _cannot(name, "its loss needs sampled negatives")
        self.model = kind(config, dataset)
        if not isinstance(getattr(self.model, "item_embedding", None), nn.Embedding):
            raise _cannot(name, "it has no item_embedding to score items with")
        self.n_items, self.max_seq_length = dataset.item_num, config["MAX_ITEM_LIST_LENGTH"]
        self.trims = name in _TRIMMED

    @property
    def item_vectors(self) -> Tensor:
        """[V, D]; BERT4Rec's table has one row more, for its mask."""
        return self.model.item_embedding.weight[: self.n_items]

    @property
    def item_bias(self) -> Tensor | None:
        """[V] added to the items' scores, or None."""
        return getattr(self.model, "output_bias", None)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor) -> Tensor:
        """[B, L] histories, their lengths [B] and whose they are [B] -> user vectors [B, D]."""
        longest = int(item_seq_len.max())
        width = longest if self.trims else self.max_seq_length
        item_seq = nn.functional.pad(item_seq[:, :longest], (0, width - longest))
        if isinstance(self.model, recbole_models.BERT4Rec):
            masked = self.model.reconstruct_test_data(item_seq, item_seq_len)
            return self.model.gather_indexes(self.model(masked), item_seq_len - 1)
        given = {"item_seq": item_seq, "item_seq_len": item_seq_len, "users": users}
        return self.model(*(given[argument] for argument in self.arguments))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The model's own, its parts summed."""
        loss = self.model.calculate_loss(interaction)
        return sum(loss) if isinstance(loss, tuple) else loss


def _arguments_of(name: str, kind: Any) -> list[str]:
    """What ``kind.forward`` is to be given, in its order."""
    asked = list(inspect.signature(kind.forward).parameters)[1:]
    unknown = [argument for argument in asked if argument not in _ARGUMENTS]
    if unknown:
        raise _cannot(name, f"its forward needs {', '.join(unknown)}")
    if kind.input_type == InputType.PAIRWISE and "loss_type" not in inspect.getsource(kind.__init__):
        raise _cannot(name, "its loss needs sampled negatives")
    if "item_seq_len" not in [_ARGUMENTS[a] for a in asked] and name not in {"BERT4Rec", "Caser", "NextItNet"}:
        raise _cannot(name, "its forward does not give one vector a history")
    return [_ARGUMENTS[argument] for argument in asked]


def _cannot(name: str, reason: str) -> ConfigError:
    mend = "use one of SASRec, DuoRec, GRU4Rec, BERT4Rec, NARM, Caser or another whose forward gives [B, D]"
    return ConfigError("backbone", name, f"cannot serve as a backbone: {reason}", mend)
