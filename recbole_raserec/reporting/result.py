"""The result of a run, and its JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from recbole_raserec.errors import DataError
from recbole_raserec.runtime.files import json_line, write_text
from recbole_raserec.runtime.machine import Machine

VERSION = 1  # of the file format; files of version 0 have no version, and the oldest lack the fields of _SINCE
_SINCE = {"groups", "test_ranks", "train_losses"}


class DataPart(TypedDict):
    """The data set, and the SHA-256 of its interactions."""

    name: str
    sha256: str
    users: int
    items: int
    interactions: int


class BackbonePart(TypedDict):
    """``{metric: value}`` of the validation part, and ``{protocol: {metric: value}}`` of the test part."""

    name: str
    valid: dict[str, float]
    test: dict[str, dict[str, float]]


class MemoryPart(TypedDict):
    """Test metrics with one memory, and ``{protocol: {metric: [percent, low, high]}}`` over the backbone."""

    test: dict[str, dict[str, float]]
    improvement: dict[str, dict[str, list[float | None]]]


class OptionalRaSeRecPart(TypedDict, total=False):
    """The chosen mixture with all that was ``tried``; and what else was chosen, with the safeguard's ``note``."""

    mixture: dict[str, Any]
    choice: dict[str, Any]


class RaSeRecPart(BackbonePart, OptionalRaSeRecPart):
    """Like the backbone's part. ``test`` uses ``memory``.

    ``test_by_memory`` has an entry for each of ``MEMORIES``, and with split=time one for ``LIVING``.
    """

    memory: str
    test_by_memory: dict[str, MemoryPart]


class DriftPart(MemoryPart):
    """Test metrics with only the oldest fraction ``share`` of every user's training pairs in the memory."""

    share: float
    memories: int


@dataclass(frozen=True, eq=False)
class Result(Mapping[str, Any]):
    """The result of a run. It is also a mapping: ``result["backbone"]`` is ``result.backbone``. It omits None values.

    Parameters
    ----------
    version : version of the file that it was read from, or ``VERSION`` for a new result.
    groups : ``{"item_popularity": {group: ...}, "history_length": {group: ...}}``, see
        :func:`~recbole_raserec.evaluation.groups.group_metrics`.
    improvement, improvement_masked : gain of RaSeRec over its backbone in the unmasked and the masked test ranking,
        ``{metric: [percent, low, high]}``. Both, and ``raserec["test"]``, use the memory ``raserec["memory"]``.
    test_ranks : ``{system: {protocol: ranks}}``, every test user's rank by the backbone and with each memory, packed
        by :func:`~recbole_raserec.evaluation.significance.pack_ranks`. So runs can be compared on paired users.
    seconds : seconds of each stage.
    valid_curves, train_losses : one value per epoch for each stage; losses are sums over the batches.
    config : the value of every parameter.
    model_file : path of the trained model with its memory.
    index : an approximate index's factory string, effort and recall of the 20 nearest memories; None if it is exact.
    """

    version: int
    dataset: DataPart
    backbone: BackbonePart
    raserec: RaSeRecPart
    groups: dict[str, dict[str, Any]] | None
    improvement: dict[str, list[float | None]]
    improvement_masked: dict[str, list[float | None]]
    test_users: int
    test_ranks: dict[str, dict[str, str]] | None
    seconds: dict[str, float]
    peak_rss_mib: float
    valid_curves: dict[str, list[float]]
    train_losses: dict[str, list[float]] | None
    config: dict[str, Any]
    versions: dict[str, str]
    machine: Machine
    seed: int
    portrait: dict[str, Any] | None = None
    drift: list[DriftPart] | None = None
    regeneration: dict[str, Any] | None = None
    model_file: str | None = None
    index: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in {field.name for field in fields(self)} or getattr(self, name) is None:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self) if getattr(self, field.name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_json(self) -> str:
        """The mapping as one line of JSON."""
        return json_line(dict(self))

    @classmethod
    def from_json(cls, content: str | Mapping[str, Any], source: str | Path = "JSON") -> Result:
        """The result from the JSON that :meth:`to_json` writes.

        Parameters
        ----------
        content : the JSON as text, or already parsed.
        source : name of the file, for the error.

        Raises
        ------
        DataError : ``content`` is not the JSON of a result, or its version is newer than ``VERSION``.
        """
        try:
            found = json.loads(content) if isinstance(content, str) else content
        except (ValueError, RecursionError) as error:
            raise _not_a_result(source, str(error)) from error
        _check(found, source)
        return cls(**{"version": 0, **dict.fromkeys(_SINCE), **{name: found[name] for name in _NAMES & found.keys()}})


_NAMES = {field.name for field in fields(Result)}
_REQUIRED = {field.name for field in fields(Result) if field.default is MISSING} - {"version"}
# Fields that are JSON objects, and the names that each object must have
_OBJECTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("improvement", "improvement_masked", "seconds", "valid_curves"), frozenset()),
    **dict.fromkeys(("config", "versions"), frozenset()),
    "dataset": DataPart.__required_keys__,
    "backbone": BackbonePart.__required_keys__,
    "raserec": RaSeRecPart.__required_keys__,
    "machine": Machine.__required_keys__,
}


def _check(content: Any, source: str | Path) -> None:
    """Raise DataError unless ``content`` is the JSON of a result with a version that this package knows."""
    version = content.get("version", 0) if isinstance(content, Mapping) else None
    if type(version) is not int:
        raise _not_a_result(source, "not a result of run")
    if version > VERSION:
        problem = f"version {version} of the format, and this recbole-raserec reads up to {VERSION}"
        raise DataError("result", str(source), problem, "pip install --upgrade recbole-raserec")
    missing = _REQUIRED - content.keys() - (set() if version else _SINCE)
    if missing:
        raise _not_a_result(source, f"not a result of run: it has no {', '.join(sorted(missing))}")
    for name, inner in _OBJECTS.items():
        if not isinstance(content[name], Mapping) or not inner <= content[name].keys():
            raise _not_a_result(source, f"not a result of run: its {name} is not one of a run")


def _not_a_result(source: str | Path, problem: str) -> DataError:
    return DataError("result", str(source), problem, "give files that `recbole-raserec run --result_file=FILE` wrote")


def read_result(path: str | Path) -> Result:
    """Read a result file of ``run``. Raise DataError if the file is missing or is not a result."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _not_a_result(path, str(error)) from error
    return Result.from_json(text, path)


def write_result(path: str | Path, result: Result) -> None:
    """Write ``result`` as JSON, atomically and durably."""
    write_text(Path(path), result.to_json() + "\n", "result_file")
