"""Stage one of the pipeline: mine, pair, train the regenerator, decode. A later run reuses the file of the rows."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed
from torch import Tensor

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.patterns import Patterns, mine_patterns, pair_patterns
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.model import RaSeRec
from recbole_raserec.nn.softmax import negatives_for
from recbole_raserec.regeneration.dataset import RegeneratedDataset
from recbole_raserec.regeneration.decoding import decode_all, local_decoder, ray_decoder
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.regeneration.rows import GeneratedRows, find_leaks, rows_of_decoded, rows_of_patterns
from recbole_raserec.regeneration.trainer import Pairs, RegeneratorTrainer
from recbole_raserec.runtime.progress import bar, timed
from recbole_raserec.training import checkpoints
from recbole_raserec.training.backbone import backbone_trainer, restore

_COLUMNS = ("items", "offsets", "part", "owner")


@dataclass(frozen=True)
class Regenerated:
    """Generated rows and their origin.

    Attributes
    ----------
    rows : patterns first, then decoded rows.
    manifest : parameters, seed, counts, seconds, SHA-256 of source and rows, all in plain types.
    """

    rows: GeneratedRows
    manifest: dict[str, Any]


def regenerated(config: Config, data: SequenceDataset) -> tuple[RegeneratedDataset, dict[str, Any]]:
    """The data set with its generated rows, and the manifest of these rows.

    Raises
    ------
    ConfigError : DR4SR+ is requested, but the softmax is sampled.
    """
    if config["regenerate"] == "DR4SR+" and negatives_for(config["softmax_negatives"], data.item_num):
        problem = "its weights are learned through the full softmax, and here it is sampled"
        raise ConfigError("regenerate", "DR4SR+", problem, "use DR4SR, or give --softmax_negatives=0")
    made = Regeneration(config, data).run()
    logging.getLogger().info(f"regenerated: {made.manifest['counts']}")
    dataset = RegeneratedDataset(config, made.rows)
    dataset.build()
    return dataset, made.manifest


class Regeneration:
    """Makes the :class:`Regenerated` of a data set, or loads it if an earlier run had the same data and parameters.

    Raises
    ------
    DataError : decoded rows are requested, but no pattern was found.
    """

    def __init__(self, config: Config, dataset: SequenceDataset) -> None:
        self.config, self.dataset = config, dataset
        self.show_progress = bool(config["show_progress"])
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, Any] = {}
        self.losses: list[float] = []

    @property
    def path(self) -> Path:
        """File of the rows. Its name depends on the data and the parameters."""
        start = checkpoints.file_digest(self.config["regenerator_pretrained"])
        name = checkpoints.fingerprint(self.config.plain(), f"{self.dataset.sha256} {start}", "regenerate")
        return Path(self.config["checkpoint_dir"]) / f"{self.config['dataset']}-DR4SR-{name}.pth"

    def run(self) -> Regenerated:
        """The rows of all generated parts that ``regenerate_parts`` names."""
        for state in checkpoints.candidates(self.path, "cpu"):
            logging.getLogger().info(f"regenerate: taken from {self.path}")
            return Regenerated(GeneratedRows(*(state[name].numpy() for name in _COLUMNS)), state["manifest"])
        training = self.dataset.sequences.training_only()
        with timed(self.seconds, "mining"):
            window, support = self.config["pattern_window"], self.config["pattern_min_support"]
            patterns = mine_patterns(training, window, support)
        self._count_patterns(patterns)
        rows = rows_of_patterns(patterns)
        if "decoded" in self.config["regenerate_parts"]:
            rows = rows.join(self._decode(training.recent(self.config["MAX_ITEM_LIST_LENGTH"]), patterns))
        made = Regenerated(rows, self._manifest(rows))
        _save(self.path, made)
        return made

    def _decode(self, training: Sequences, patterns: Patterns) -> GeneratedRows:
        config, model = self.config, self.regenerator(training, patterns)
        with timed(self.seconds, "decoding"):
            settings = (config["decode_gamma"], config["seed"], config["decode_max_length"], config["device"])
            address = config["ray_address"]
            if address is None:
                decoder = local_decoder(model, training, *settings)
            else:
                decoder = ray_decoder(address, model, training, *settings)
            decoded = decode_all(training, decoder, bar("decode", self.show_progress))
        rows, cut = rows_of_decoded(decoded, self.dataset.sequences)
        if len(find_leaks(rows, self.dataset.sequences)):
            raise AssertionError("a held-out transition stands in a generated row of its own user")
        self.counts |= {"decoded": len(decoded.sequence), "cut_by_guard": cut, "decoded_kept": len(rows)}
        return rows

    def regenerator(self, training: Sequences, patterns: Patterns) -> Regenerator:
        """The regenerator, trained on pairs of the ``training`` sequences and their ``patterns``.

        Raises
        ------
        DataError : no sequence has a pattern.
        """
        config = self.config
        with timed(self.seconds, "pairs"):
            pairs = Pairs(
                training, patterns, *pair_patterns(training, patterns, config["pattern_pairs"], config["seed"])
            )
        self.counts["pairs"] = len(pairs.sequence)
        if not len(pairs.sequence):
            problem = f"no pattern occurs in {config['pattern_min_support']} training sequences"
            raise DataError("dataset", config["dataset"], problem, "lower --pattern_min_support, or give more data")
        with timed(self.seconds, "embedding"):
            vectors = self._item_vectors()
        return self._train(pairs, vectors)

    def _item_vectors(self) -> Tensor:
        """[V, D] item vectors of ``regenerator_pretrained``, or of a backbone trained for a few epochs here."""
        init_seed(self.config["seed"], self.config["reproducibility"])
        model = RaSeRec(self.config, self.dataset).to(self.config["device"])
        if self.config["regenerator_pretrained"] is not None:
            restore("regenerator_pretrained", self.config, model, self.dataset)
        else:
            epochs = self.config["regenerator_embedding_epochs"]
            config = self.config.changed(epochs=epochs, eval_step=epochs, regenerate=None)
            stage = backbone_trainer(config, model, self.dataset)
            stage.run(self.dataset.sequences.valid_part(), self.show_progress)
            self.seconds["embedding"] = stage.earlier
        return model.item_vectors.detach()

    def _train(self, pairs: Pairs, vectors: Tensor) -> Regenerator:
        config = self.config
        init_seed(config["seed"], config["reproducibility"])
        model = Regenerator(
            vectors,
            max_length=config["MAX_ITEM_LIST_LENGTH"],
            max_target=max(config["decode_max_length"], config["pattern_window"]),
            diversity=config["regenerator_diversity"],
            heads=config["regenerator_n_heads"],
            layers=config["regenerator_n_layers"],
            inner_size=config["regenerator_inner_size"],
            dropout=config["regenerator_dropout_prob"],
        ).to(config["device"])
        source = f"{self.dataset.sha256} {hashlib.sha256(vectors.cpu().numpy().tobytes()).hexdigest()}"
        trainer = RegeneratorTrainer(config, model, pairs, self.dataset.sha256, source)
        with timed(self.seconds, "regenerator"):
            trainer.train(self.show_progress)
            self.seconds["regenerator"] = trainer.earlier
        self.losses = trainer.losses
        return model

    def _count_patterns(self, patterns: Patterns) -> None:
        length, number = np.unique(patterns.lengths, return_counts=True)
        self.counts["sequences"] = self.dataset.sequences.original
        self.counts["patterns"] = len(patterns)
        self.counts["patterns_by_length"] = {str(n): int(c) for n, c in zip(length, number)}

    def _manifest(self, rows: GeneratedRows) -> dict[str, Any]:
        return {
            "parameters": checkpoints.relevant(self.config.plain(), "regenerate"),
            "seed": self.config["seed"],
            "counts": self.counts,
            "seconds": {stage: round(value, 2) for stage, value in self.seconds.items()},
            "losses": self.losses,
            "source_sha256": self.dataset.sha256,
            "rows_sha256": rows.digest(),
        }


def _save(path: Path, made: Regenerated) -> None:
    columns = {name: torch.from_numpy(np.ascontiguousarray(getattr(made.rows, name))) for name in _COLUMNS}
    checkpoints.save(path, {"stage": "regenerated", **columns, "manifest": made.manifest})
