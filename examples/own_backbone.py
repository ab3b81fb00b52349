"""A backbone of one's own under the retrieval module: ``python examples/own_backbone.py``"""

import recbole.model.sequential_recommender as models
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_raserec import run


class MeanOfLast(SequentialRecommender):
    """A user is the mean of the last items. This is an ordinary RecBole model: it has a forward and a loss."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, 32, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=0.05)

    def forward(self, item_seq, item_seq_len):  # [B, L], 0 on the right -> [B, 32]
        return self.item_embedding(item_seq).sum(dim=1) / item_seq_len[:, None]

    def calculate_loss(self, interaction):
        users = self(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return nn.functional.cross_entropy(users @ self.item_embedding.weight.T, interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction):
        users = self(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return torch.matmul(users, self.item_embedding.weight.T)


models.MeanOfLast = MeanOfLast  # where RecBole's own are; do this before Recommender.load, too
# So few epochs end soon; their figures say nothing.
few = {"epochs": 2, "finetune_epochs": 1, "show_progress": False, "MAX_ITEM_LIST_LENGTH": 5, "window_stride": 5}
result = run(dataset="ml-100k", config_dict={**few, "backbone": "MeanOfLast"})
