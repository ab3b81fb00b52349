"""A regenerated data set as RecBole's atomic files that are already split. Any RecBole sequential model can read it.

RecBole's leave-one-out would also hold out the last items of generated rows. So each part is a separate file
(``benchmark_filename``), and every line is a prefix and its target. A yaml file tells RecBole about the split.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.errors import DataError
from recbole_raserec.runtime.files import write_text, writing
from recbole_raserec.runtime.progress import Progress, format_seconds

MANIFEST = "manifest.json"
_SEPARATORS = " ,;|"
_LINES = 2**14  # lines written at once


def export(dataset: SequenceDataset, folder: Path, manifest: dict[str, Any], progress: Progress = iter) -> Path:
    """Write ``folder``, whose name is the data set's name, and return the path of its manifest.

    The manifest is written first, without ``files``, and last, with them: so an earlier one does not stand beside parts
    that are new, and the same command may go on where this one was stopped.

    Parameters
    ----------
    dataset : a built :class:`~recbole_raserec.regeneration.dataset.RegeneratedDataset`.
    manifest : facts about the data set. The SHA-256 and the number of lines of each file are added.
    """
    sequences = dataset.sequences
    parts = {"train": sequences.trained_part(), "valid": sequences.valid_part(), "test": sequences.test_part()}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")  # whose folder it is, if the rest fails
    files = {}
    for part, prefixes in parts.items():
        path = folder / f"{folder.name}.{part}.inter"
        files[path.name] = {"sha256": _write_part(path, dataset, prefixes, progress), "lines": len(prefixes)}
    write_text(folder / f"{folder.name}.yaml", yaml.safe_dump(_recbole_settings(dataset), sort_keys=False))
    write_text(folder / MANIFEST, json.dumps({**manifest, "files": files}, indent=1) + "\n")
    return folder / MANIFEST


def separator(dataset: SequenceDataset) -> str:
    """What stands between the items of a history: a space, or what no item's token has.

    Raises
    ------
    DataError : there is no such character.
    """
    tokens = [str(token) for token in dataset.field2id_token[dataset.iid_field]]
    for character in _SEPARATORS:
        if not any(character in token for token in tokens):
            return character
    problem = f"its items' tokens hold all of {' '.join(map(repr, _SEPARATORS))}, so nothing can stand between them"
    raise DataError("dataset", dataset.dataset_name, problem, "leave one of them out of the tokens")


def _recbole_settings(dataset: SequenceDataset) -> dict[str, Any]:
    """The settings that RecBole needs to read the folder, and to train on it with a full softmax."""
    user, item = dataset.uid_field, dataset.iid_field
    history = f"{item}{dataset.config['LIST_SUFFIX']}"
    return {
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": [user, history, item]},
        "alias_of_item_id": [history],
        "seq_separator": separator(dataset),
        "MAX_ITEM_LIST_LENGTH": dataset.max_item_list_len,
        "train_neg_sample_args": None,
    }


def _write_part(path: Path, dataset: SequenceDataset, prefixes: Prefixes, progress: Progress) -> str:
    """Write the lines of one part. Return the SHA-256 of the file."""
    user, item = dataset.uid_field, dataset.iid_field
    users, words = (np.asarray(dataset.field2id_token[field], dtype=object) for field in (user, item))
    between = separator(dataset)
    at, owner, stop = prefixes.sequences.items, prefixes.users, prefixes.target_at
    start = stop - np.minimum(prefixes.lengths, dataset.max_item_list_len)
    whole = hashlib.sha256()
    with writing(path) as file:
        header = f"{user}:token\t{item}{dataset.config['LIST_SUFFIX']}:token_seq\t{item}:token\n"
        for rows in progress([None, *_blocks(len(prefixes))]):
            text = header if rows is None else "".join(
                f"{users[owner[r]]}\t{between.join(words[at[start[r]:stop[r]]])}\t{words[at[stop[r]]]}\n" for r in rows
            )  # fmt: skip
            whole.update(text.encode())
            file.write(text.encode())
    return whole.hexdigest()


def _blocks(count: int) -> list[range]:
    return [range(begin, min(begin + _LINES, count)) for begin in range(0, count, _LINES)]


def format_manifest(manifest: dict[str, Any]) -> str:
    """The counts and seconds of a regeneration as text."""
    counts = dict(manifest["counts"])
    by_length = ", ".join(f"{n:,} of {length}" for length, n in counts.pop("patterns_by_length").items())
    lines = [f"{name.replace('_', ' ')}: {value:,}" for name, value in counts.items()]
    lines[1] += f" ({by_length} items)" if by_length else ""
    return "\n".join([*lines, format_seconds(manifest["seconds"])])
