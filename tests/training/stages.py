"""Stages of training on tiny data."""

import torch

from recbole_raserec import RaSeRec, SequenceDataset
from recbole_raserec.training import backbone
from recbole_raserec.training.backbone import BackboneTrainer


def build(config):
    dataset = SequenceDataset(config)
    dataset.build()
    torch.manual_seed(1)
    return dataset, RaSeRec(config, dataset)


def pretrain(config, stop_after=None):
    dataset, model = build(config)
    stage = BackboneTrainer(config, model, dataset)
    if stop_after is not None:
        save = stage._save_last

        def killed(epoch, **more):
            save(epoch, **more)
            if epoch + 1 == stop_after:
                raise KeyboardInterrupt

        stage._save_last = killed
    stage.run(dataset.sequences.valid_part(), False)
    return stage, model.backbone.state_dict()


def load_into(config):
    dataset, model = build(config)
    return backbone.pretrain(config, model, dataset)
