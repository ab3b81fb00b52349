"""Any RecBole sequential model as a backbone, with its own loss and parameters. Each prefix is one sample."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import recbole.model.sequential_recommender as recbole_models
import torch
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from torch import Tensor, nn

from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.backbones.sizes import Sizes
from recbole_raserec.errors import ConfigError

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config

# Arguments that a model's ``forward`` may have, under the names in RecBole's models.
_ARGUMENTS = {
    "item_seq": "item_seq", "seq_item": "item_seq", "item_seq_len": "item_seq_len", "seq_item_len": "item_seq_len",
    "user": "users",
}  # fmt: skip
# Models whose output does not depend on the amount of padding after a history.
_TRIMMED = {"GRU4Rec", "NARM"}
# Models whose loss uses RecBole's table of all prefixes, 50 items each. This table does not exist here.
_OF_ALL_PREFIXES = {"FEARec"}


class Adapter(nn.Module):
    """A stock RecBole model as a :class:`~recbole_raserec.backbones.protocol.Backbone`.

    Attributes
    ----------
    model : RecBole's model.
    trims : whether batches may be cut to their longest history.

    Raises
    ------
    ConfigError : the model needs an input that a backbone does not get, or it has no item vectors for scores.
    """

    causal = False

    def __init__(self, config: Config, dataset: Any) -> None:
        super().__init__()
        name = config["backbone"]
        kind = getattr(recbole_models, name)
        self.arguments = _arguments_of(name, kind)
        if config["loss_type"] != "CE" and kind.__module__.startswith("recbole."):  # a model of one's own has no yaml
            raise _cannot(name, "it is not trained by cross entropy over all items (loss_type: CE)")
        if name in _OF_ALL_PREFIXES:
            raise _cannot(name, "its loss needs RecBole's table of all prefixes, which is not made here")
        self._transform = construct_transform(config)  # first: the model reads fields that this adds to the config
        try:
            self.model = kind(config, Sizes(config, dataset.user_num, dataset.item_num))
        except (KeyError, ValueError, AttributeError) as error:
            raise _cannot(name, f"it cannot be built from the numbers of users and items alone ({error})") from error
        if not isinstance(getattr(self.model, "item_embedding", None), nn.Embedding):
            raise _cannot(name, "it has no item_embedding to score items with")
        self.n_items, self.max_seq_length = dataset.item_num, config["MAX_ITEM_LIST_LENGTH"]
        self.trims = name in _TRIMMED
        # [B, L] histories as wide as the model reads, [B], [B] -> [B, D]
        self.encode_padded = self._encode_masked if name == "BERT4Rec" else self._encode_plain
        self.model.to(config["device"])  # some models make tensors there, also for this check
        self._check_scores(name)

    @torch.no_grad()
    def _check_scores(self, name: str) -> None:
        """Raise ConfigError unless the model's own scores are inner products with its item vectors."""
        random = torch.get_rng_state()
        item_seq = torch.randint(1, self.n_items, (2, self.max_seq_length))
        lengths = torch.tensor([self.max_seq_length, (self.max_seq_length + 1) // 2])
        item_seq = item_seq * (torch.arange(self.max_seq_length) < lengths[:, None])
        torch.set_rng_state(random)  # so this check does not change the weights of later modules
        users = torch.tensor([1, 1])
        fields = {self.model.ITEM_SEQ: item_seq, self.model.ITEM_SEQ_LEN: lengths, self.model.USER_ID: users}
        device = self.model.item_embedding.weight.device
        interaction = Interaction(fields).to(device)
        self.eval()
        try:
            own = self.model.full_sort_predict(interaction)[:, 1 : self.n_items]
            vectors = self(*(column.to(device) for column in (item_seq, lengths, users)))
            ours = scoring_users(vectors, self.item_bias) @ scored_items(self.item_vectors, self.item_bias).T
            same = torch.allclose(own, ours[:, 1:], rtol=1e-3, atol=1e-5)
        except torch.cuda.OutOfMemoryError:
            raise
        except (KeyError, IndexError, RuntimeError, TypeError, AttributeError) as error:
            raise _cannot(name, f"it cannot score a plain history ({error})") from error
        if not same:
            raise _cannot(name, "its scores are not inner products of a history's vector and item_embedding")
        self.train()

    @property
    def item_vectors(self) -> Tensor:
        """[V, D]. BERT4Rec's table has one more row, for its mask."""
        return self.model.item_embedding.weight[: self.n_items]

    @property
    def item_bias(self) -> Tensor | None:
        """[V] bias that is added to the items' scores, or None."""
        return getattr(self.model, "output_bias", None)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor) -> Tensor:
        """[B, L] histories, their lengths [B] and user ids [B] -> user vectors [B, D]."""
        longest = int(item_seq_len.max())
        width = longest if self.trims else self.max_seq_length
        item_seq = nn.functional.pad(item_seq[:, :longest], (0, width - longest))
        return self.encode_padded(item_seq, item_seq_len, users)

    def _encode_plain(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor) -> Tensor:
        given = {"item_seq": item_seq, "item_seq_len": item_seq_len, "users": users}
        return self.model(*(given[argument] for argument in self.arguments))

    def _encode_masked(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor) -> Tensor:
        """BERT4Rec's: the output at a mask behind the history. Its own method writes the masks row by row."""
        longer = nn.functional.pad(item_seq, (0, 1)).scatter(1, item_seq_len[:, None], self.model.mask_token)
        return self.model.gather_indexes(self.model(longer[:, 1:]), item_seq_len - 1)

    def transform(self, dataset: Any, interaction: Interaction) -> Interaction:
        """Apply the transform that RecBole has for the model's training batches, for example masking."""
        return self._transform(dataset, interaction)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The model's own loss; if it has several parts, their sum."""
        loss = self.model.calculate_loss(interaction)
        return sum(loss) if isinstance(loss, tuple) else loss


def _arguments_of(name: str, kind: Any) -> list[str]:
    """The arguments of ``kind.forward``, in its order."""
    asked = list(inspect.signature(kind.forward).parameters)[1:]
    unknown = [argument for argument in asked if argument not in _ARGUMENTS]
    if unknown:
        raise _cannot(name, f"its forward needs {', '.join(unknown)}")
    return [_ARGUMENTS[argument] for argument in asked]


def _cannot(name: str, reason: str) -> ConfigError:
    mend = "use one of SASRec, DuoRec, GRU4Rec, BERT4Rec, NARM, Caser or another whose forward gives [B, D]"
    return ConfigError("backbone", name, f"cannot serve as a backbone: {reason}", mend)
