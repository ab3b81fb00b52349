"""From a frame of interactions to a trained model: a data set in a temporary folder, and a run on it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_raserec.data.convert import convert
from recbole_raserec.errors import ConfigError

_NOT_HERE = ("model", "data_path", "result_file", "nproc", "world_size")


def fit(
    frame: Any,
    user: str,
    item: str,
    time: str,
    item_table: Any,
    title: str | None,
    parameters: Mapping[str, Any],
) -> Path:
    """Train on a frame, and return the path of the model's file.

    Parameters
    ----------
    frame : a pandas or Arrow frame, or the path of a file.
    user, item, time : names of its columns.
    item_table, title : a table with titles of the items and the name of their column, or None.
    parameters : those of :func:`~recbole_raserec.pipeline.run`; ``dataset`` only names the files.
    """
    for name in set(_NOT_HERE) & parameters.keys():
        raise ConfigError(name, parameters[name], "cannot be given to fit", "leave it out, or use run")
    values = {"dataset": "frame", "show_progress": False, **parameters}
    name = values.pop("dataset")
    if not isinstance(name, str):
        raise ConfigError("dataset", name, "not a name", "give a text")
    from recbole_raserec.pipeline import run  # here, because a loaded model does not need it

    with tempfile.TemporaryDirectory(prefix="recbole-raserec-") as folder:
        columns = {"user": user, "item": item, "time": time, "title": title}
        convert(frame, "auto", name, folder, show_progress=False, items=item_table, **columns)  # type: ignore[arg-type]
        result = run("RaSeRec", name, config_dict={**values, "data_path": folder})
    assert result is not None and result.model_file is not None  # this is the first process
    return Path(result.model_file)
