"""What RecBole 1.2.1 would execute of the files and words that it reads, and the shield of :func:`run_recbole`.

The pipeline of this package never comes to these lines: its Config and its data set have their own ways.

- config/configurator.py, line 131: ``eval`` of each word of the command line and of each text of ``config_dict``
- config/configurator.py, lines 107, 155 and 233: yaml by ``FullLoader``, which makes objects of Python
- data/utils.py, lines 61 and 122: a pickled data set or loader in ``checkpoint_dir`` is loaded unasked
- trainer/trainer.py, lines 323 and 583, and quick_start.py, line 250: ``torch.load`` of a pickled Config
- trainer/hyper_tuning.py, line 239: ``eval`` of a line of a params_file (``tune`` has its own reader)
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recbole.data.utils as recbole_data
import torch
from recbole.config import Config

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.literals import literal
from recbole_raserec.runtime.plain_yaml import PlainLoader


class Loader(PlainLoader):
    """:class:`PlainLoader` with RecBole's form of numbers. RecBole pickles it with its Config, so it has a name."""


class SafeConfig(Config):
    """RecBole's Config, in which texts are literals or themselves, and yaml holds plain values."""

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {name: literal(value) if isinstance(value, str) else value for name, value in config_dict.items()}

    def _build_yaml_loader(self) -> Any:
        stock = super()._build_yaml_loader()
        Loader.yaml_implicit_resolvers = {first: list(found) for first, found in stock.yaml_implicit_resolvers.items()}
        return Loader


class _NoPickle:
    """pickle for RecBole's data: it writes, and refuses to read."""

    dump = staticmethod(pickle.dump)

    @staticmethod
    def load(file: Any) -> Any:
        path = getattr(file, "name", None)
        problem = "a pickled data set, which could execute anything when it is read"
        raise ConfigError("dataset_save_path", path, problem, "remove it, or give another checkpoint_dir")


@contextmanager
def shielded() -> Iterator[None]:
    """Inside the block RecBole reads no pickle except the checkpoints that it wrote in this block.

    torch refuses RecBole's checkpoints since torch 2.6, because they hold a pickled Config.
    """
    load, save, written = torch.load, torch.save, set()

    def saving(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        save(content, path, *args, **kwargs)
        if isinstance(path, (str, Path)):
            written.add(Path(path).resolve())

    def loading(path: Any, *args: Any, **kwargs: Any) -> Any:
        is_own = isinstance(path, (str, Path)) and Path(path).resolve() in written
        return load(path, *args, **{**kwargs, "weights_only": not is_own})

    torch.load, torch.save, recbole_data.pickle = loading, saving, _NoPickle
    try:
        yield
    finally:
        torch.load, torch.save, recbole_data.pickle = load, save, pickle
