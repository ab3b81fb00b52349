"""RecBole's sequential data set over flat sequences: same fields, same split, memory O(interactions)."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import SequentialDataset
from recbole.data.dataset.dataset import download_url, extract_zip, rename_atomic_files
from recbole.utils import FeatureSource, FeatureType

from recbole_raserec.data.atomic_files import check_lines, check_no_missing, read_columns, read_header
from recbole_raserec.data.filters import check_val_interval, described
from recbole_raserec.data.prefix_feat import PrefixFeat
from recbole_raserec.data.requirements import check_splittable, check_users
from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.data.splits import BY_TIME, are_places, by_time
from recbole_raserec.errors import DataError, RaSeRecError
from recbole_raserec.runtime.recbole_faults import fill_nan, pandas_that_recbole_knows, remove_duplication

_SECONDS = "seconds"  # name of a column while RecBole sorts


class SequenceDataset(SequentialDataset):
    """RecBole data set with the parts of RecBole's leave-one-out, or with those of a split by time.

    The interactions of a user are sorted by time, and ties keep the file order, exactly as in RecBole.
    RecBole compares timestamps as float32; a split by time compares them as they are.
    ``recbole-raserec convert`` writes rows that are already sorted.

    Attributes
    ----------
    sequences : :class:`~recbole_raserec.data.sequences.Sequences`, after ``build``.
    sha256 : SHA-256 of the ``.inter`` file and of the tables of users and items, if they are loaded (``load_col``).

    Raises
    ------
    DataError : the folder or file is missing, or the file is malformed, holds NaN, or cannot be split.
    """

    sequences: Sequences
    inter_feat: Any
    _seconds: np.ndarray

    def build(self) -> list[SequenceDataset]:
        """The training, validation and test parts, in this order."""
        self._change_feat_format()
        parts = [self.sequences.train_part(), self.sequences.valid_part(), self.sequences.test_part()]
        return [self.copy(self.feat_of(part)) for part in parts]

    @property
    def source(self) -> str:
        """Identifier of the training data, for the names of checkpoints."""
        return self.sha256

    @property
    def prefixes(self) -> Prefixes:
        """The (prefix, target) pairs of a built part."""
        return self.inter_feat.prefixes

    def data_augmentation(self) -> None:
        """Sort the interactions and group them by user. RecBole copies every prefix here; this stores only offsets."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        columns = self.inter_feat.interaction
        columns[_SECONDS] = torch.from_numpy(self._seconds)
        by_seconds = self.config["split"] == BY_TIME
        order = _SECONDS if by_seconds else self.time_field
        if not self._is_sorted(order):  # converted files are sorted, and RecBole's two sorts are slow
            self.sort(by=[self.uid_field, order], ascending=True)
        self._seconds = columns.pop(_SECONDS).numpy()
        users, items = (self.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field))
        self.sequences = Sequences.from_sorted(users, items, self._seconds)
        if are_places(self.sequences.offsets, self._seconds):  # of converted sequences: nothing is older than another
            self.logger.info(f"{self.dataset_name}: its timestamps number each user's items, so memories have no times")
            self.sequences = replace(self.sequences, times=None)
        if not by_seconds:
            check_splittable(self.sequences.lengths, self.dataset_name)
            return
        check_users(self.sequences.lengths, self.dataset_name)
        split = by_time(self.sequences.offsets, self._seconds, self.config["time_shares"], self.dataset_name)
        self.sequences = replace(self.sequences, split=split)

    def _is_sorted(self, order: str) -> bool:
        """Whether the rows are sorted by user, then by the column ``order``."""
        user, time = self.inter_feat[self.uid_field], self.inter_feat[order]
        later = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (time[1:] >= time[:-1]))
        return bool(later.all())

    def feat_of(self, part: Prefixes) -> PrefixFeat:
        """The given (prefix, target) pairs of a built data set, in the form that RecBole's models read."""
        list_fields = {
            field: getattr(self, f"{field}_list_field") for field in self.inter_feat if field != self.uid_field
        }
        return PrefixFeat(self.inter_feat, part, list_fields, self.item_list_length_field, self.max_item_list_len)

    def _load_data(self, token: str, dataset_path: str) -> None:
        if not os.path.exists(dataset_path):
            self._download()
        path = Path(dataset_path) / f"{token}.inter"
        if not path.is_file():
            raise DataError("dataset", token, f"{path} does not exist", "write it with `recbole-raserec convert`")
        self.sha256 = self._digest(path)
        super()._load_data(token, dataset_path)

    def _digest(self, interactions: Path) -> str:
        """SHA-256 of the tables that are loaded. RecBole drops interactions whose user or item a loaded table lacks."""
        whole, wanted = hashlib.sha256(interactions.read_bytes()), self.config["load_col"]
        for name in ("user", "item"):
            table = interactions.with_suffix(f".{name}")
            if table.is_file() and (wanted is None or name in wanted):
                whole.update(table.read_bytes())
        return whole.hexdigest()

    def _data_filtering(self) -> None:
        check_val_interval(self.config["val_interval"] or {}, self.field2type)
        try:
            super()._data_filtering()
        except ValueError as error:
            if "feat is empty" not in str(error):
                mend = "correct val_interval, or the other filters"
                raise DataError("dataset", self.dataset_name, f"cannot be filtered ({error})", mend) from error
            problem = f"no interaction is left after filtering ({described(self.config)})"
            raise DataError("dataset", self.dataset_name, problem, "give more data or loosen the filters") from error

    def _remove_duplication(self) -> None:
        remove_duplication(self)

    def _from_scratch(self) -> None:
        try:
            with pandas_that_recbole_knows():
                super()._from_scratch()
        except RaSeRecError:
            raise
        except ValueError as error:
            problem, mend = f"RecBole cannot load it ({error})", "correct the parameter or the file that it names"
            raise DataError("dataset", self.dataset_name, problem, mend) from error

    def _normalize(self) -> None:
        if self.time_field not in self.inter_feat:
            problem = "RecBole makes labels of the times, and drops them"
            raise DataError("threshold", self.config["threshold"], problem, "leave it out, or name another field")
        self._seconds = self.inter_feat[self.time_field].to_numpy(np.float64, copy=True)  # before RecBole changes them
        super()._normalize()

    def _fill_nan(self) -> None:
        fill_nan(self)
        super()._fill_nan()

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame:
        """Read an atomic file. Interactions are read by pandas' C parser, 20 times faster than RecBole's choice."""
        kinds = {self.uid_field: "token", self.iid_field: "token"}
        if source == FeatureSource.INTERACTION:
            kinds[self.time_field] = "float"
        form = self.config["field_separator"], self.config["encoding"] or "utf-8"
        fields = read_header(filepath, *form, kinds)
        if source != FeatureSource.INTERACTION:
            return super()._load_feat(filepath, source)
        frame = self._read_interactions(filepath, *form, fields)
        check_lines(len(frame), filepath, *form)
        for field in (self.uid_field, self.iid_field, self.time_field):
            if field not in frame:
                raise DataError(filepath, field, "this field is not loaded", "add it to the file and to load_col.inter")
            check_no_missing(frame[field], filepath, *form)
        return frame

    def _read_interactions(
        self, filepath: str, separator: str, encoding: str, fields: dict[str, FeatureType]
    ) -> pd.DataFrame:
        load, unload = self._get_load_and_unload_col(FeatureSource.INTERACTION)
        kinds = {
            field: kind
            for field, kind in fields.items()
            if (load is None or field in load) and not (unload and field in unload)
        }
        if any(kind.value.endswith("seq") for kind in kinds.values()):
            return super()._load_feat(filepath, FeatureSource.INTERACTION)
        frame = read_columns(filepath, separator, encoding, kinds)
        for field, kind in kinds.items():
            self.field2source[field], self.field2type[field] = FeatureSource.INTERACTION, kind
            self.field2seqlen[field] = 1
            if kind == FeatureType.FLOAT:
                self.field2bucketnum[field] = 2
        return frame

    def _download(self) -> None:
        """RecBole's download, without the ``torch.distributed.barrier`` that fails in a single process."""
        folder = Path(self.dataset_path)
        url = self._get_download_url("url", allow_none=True)
        if url is None:
            known = [path.name for path in folder.parent.glob("*") if path.is_dir()]
            known += getattr(self.config, "known_datasets", list)()  # RecBole's own Config has none
            near = difflib.get_close_matches(self.dataset_name, known, 1)
            raise DataError(
                "dataset",
                self.dataset_name,
                f"there is no folder {folder} and RecBole knows no such data set",
                f"did you mean {near[0]!r}" if near else _how_to_convert(self.dataset_name, folder),
            )
        self.logger.info(f"Downloading {self.dataset_name} from {url}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                unpacked = Path(temporary) / self.dataset_name
                unpacked.mkdir()
                archive = Path(download_url(url, str(unpacked)))
                extract_zip(str(archive), str(unpacked))
                archive.unlink()
                rename_atomic_files(str(unpacked), archive.stem, self.dataset_name)
                unpacked.replace(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                "dataset",
                self.dataset_name,
                f"there is no folder {folder} and the download failed ({error})",
                _how_to_convert(self.dataset_name, folder),
            ) from error


def load_dataset(config: Config) -> SequenceDataset:
    """The configured data set, read and built."""
    dataset = SequenceDataset(config)
    dataset.build()
    logging.getLogger().info(dataset)
    return dataset


def _how_to_convert(dataset: str, folder: Path) -> str:
    command = "recbole-raserec convert --input=FILE --format=sequences"
    return f"run: {command} --dataset={dataset} --data_path={folder.parent}"
