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
    run_until(stage, dataset, stop_after)
    return stage, model.backbone.state_dict()


def run_until(stage, dataset, stop_after=None):
    """Run a stage. After ``stop_after`` epochs it is interrupted, as soon as the epoch is kept."""
    save = stage._save_last

    def save_and_stop(epoch, **more):
        save(epoch, **more)
        if epoch + 1 == stop_after:
            raise KeyboardInterrupt

    stage._save_last = save_and_stop
    stage.run(dataset.sequences.valid_part(), False)


def load_into(config):
    dataset, model = build(config)
    return backbone.pretrain(config, model, dataset)
