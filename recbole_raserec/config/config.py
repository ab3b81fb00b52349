"""RecBole's Config with this plugin's properties, with strict names and types, and without ``eval``.

The sources and their order are those of RecBole: command line > config dict > config files > properties.
All values are checked here, before any data is read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recbole.config
import torch
import yaml
from recbole.utils import InputType, ModelType

from recbole_raserec.config.checks import check_type, check_values
from recbole_raserec.config.idle import idle
from recbole_raserec.config.parameters import PARAMETERS
from recbole_raserec.config.properties import (
    BASED_ON,
    MODELS,
    REGENERATION,
    backbone_names,
    dataset_names,
    preset_names,
    properties_folder,
)
from recbole_raserec.config.words import check_known, parse_arguments
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.files import check_folder_name
from recbole_raserec.runtime.literals import literal
from recbole_raserec.runtime.plain_yaml import PlainLoader, load_yaml
from recbole_raserec.runtime.recbole_faults import restore_numpy_names


class _ModelKinds:
    """Replaces the model class. RecBole's Config reads only these two attributes of it."""

    type = ModelType.SEQUENTIAL
    input_type = InputType.POINTWISE


class Config(recbole.config.Config):
    """RecBole's Config with this plugin's parameters.

    Parameters
    ----------
    model, dataset : names; by default they come from the other sources.
    config_file_list : yaml files.
    config_dict : parameters.
    arguments : command line arguments, each ``--name=value``. RecBole's Config reads ``sys.argv`` itself.
        This class does not, so a program that imports it can have its own command line.

    Raises
    ------
    ConfigError : a name is unknown, or a value has the wrong type or range.
    """

    def __init__(
        self,
        model: str | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._arguments = list(arguments)
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except ConfigError:
            raise
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise ConfigError("config", None, str(error), "see RecBole's documentation") from error

    def compatibility_settings(self) -> None:
        """RecBole's, which asks numpy for names that numpy 2 does not have."""
        restore_numpy_names()

    @property
    def output_path(self) -> Path:
        """Folder where data sets are written: ``data_path`` as it was given.

        RecBole looks for ml-100k in its own installed package.
        """
        return Path(self.external_config_dict.get("data_path", self.internal_config_dict["data_path"]))

    @property
    def idle(self) -> dict[str, str]:
        """The parameters that were set and change nothing under the others, each with the reason."""
        given = self.external_config_dict
        return idle(self.final_config_dict, (n for n in given if self[n] != self.internal_config_dict.get(n)))

    def changed(self, **values: Any) -> Config:
        """A copy with other values. The new values are not checked."""
        other = copy.copy(self)
        other.final_config_dict = {**self.final_config_dict, **values}
        return other

    def plain(self) -> dict[str, Any]:
        """The value of every parameter in JSON types, for result files and checkpoints."""
        return {name: _plain(value) for name, value in sorted(self.final_config_dict.items())}

    def known_datasets(self) -> list[str]:
        """Names of data sets that have parameters of their own."""
        return dataset_names()

    # -- sources ---------------------------------------------------------------------------------

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        class Loader(PlainLoader):  # RecBole adds its resolver to yaml's global loader
            pass

        scientific = re.compile(r"^[-+]?(\d[\d_]*)?\.?[\d_]+[eE][-+]?\d+$")
        Loader.add_implicit_resolver("tag:yaml.org,2002:float", scientific, list("-+.0123456789"))
        return Loader

    def _load_config_files(self, file_list: Sequence[str] | None) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in file_list or ():
            merged.update(self._load_yaml(Path(file)))
        return merged

    def _load_yaml(self, file: Path) -> dict[str, Any]:
        try:
            content = load_yaml(file.read_text(encoding="utf-8"), self.yaml_loader)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("config_files", str(file), str(error), "give a readable yaml file") from error
        except yaml.YAMLError as error:
            problem = " ".join(str(error).split())
            raise ConfigError("config_files", str(file), problem, "write plain yaml, name: value") from error
        if content is not None and not isinstance(content, dict):
            raise ConfigError("config_files", str(file), "not a mapping", "write lines like alpha: 0.5")
        return content or {}

    def _load_properties(self, file: Path) -> dict[str, Any]:
        """The values of a file in properties/. They override the values of the file that it is based on."""
        values = self._load_yaml(file)
        base = values.pop(BASED_ON, None)
        return values if base is None else {**self._load_properties(file.parent / base), **values}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        for name, value in config_dict.items():
            if isinstance(value, str):
                found = literal(value)
                config_dict[name] = found if found is None or isinstance(found, str) or not _is_text(name) else value
        return config_dict

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._convert_config_dict(parse_arguments(self._arguments))

    def _merge_external_config_dict(self) -> None:
        super()._merge_external_config_dict()
        if files := self.external_config_dict.pop("config_files", None):
            mend = "from Python give config_file_list; in a yaml file leave it out"
            raise ConfigError("config_files", files, "only the command line reads it", mend)

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        given = model if model is not None else self.external_config_dict.get("model")
        if given is None:
            raise ConfigError("model", None, "not given", "add --model=RaSeRec")
        name = given if isinstance(given, str) else getattr(given, "__name__", str(given))
        if name in backbone_names():
            mend = f"use --model=RaSeRec --backbone={name}: its own result is reported too"
            raise ConfigError("model", name, "this is a backbone", mend)
        check_known("model", name, MODELS)
        data = dataset if dataset is not None else self.external_config_dict.get("dataset")
        if data is None:
            raise ConfigError("dataset", None, "not given", "add --dataset=ml-100k or your own")
        check_folder_name("dataset", data, "put the folder above it in --data_path")
        return name, _ModelKinds, str(data)

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        backbone = self.external_config_dict.get("backbone", PARAMETERS["backbone"].default)
        check_known("backbone", backbone, backbone_names())
        preset = self.external_config_dict.get("preset")
        if preset is not None:
            check_known("preset", preset, preset_names())
        super()._load_internal_config_dict(model, model_class, dataset)
        folder = properties_folder()
        for file in (
            Path(recbole.__file__).parent / "properties" / "model" / f"{backbone}.yaml",
            folder / "overall.yaml",
            folder / "model" / f"{REGENERATION}.yaml",
            folder / "model" / f"{backbone}.yaml",
            folder / "model" / f"{model}.yaml",
            folder / "dataset" / f"{dataset}.yaml",
            *([] if preset is None else [folder / "preset" / part / f"{preset}.yaml" for part in ("", backbone)]),
        ):
            if file.is_file():
                self.internal_config_dict.update(self._load_properties(file))

    def _set_default_parameters(self) -> None:
        """RecBole's, which reads ml-100k from its installed package only. Here one in ``data_path`` comes first."""
        given = self.final_config_dict["data_path"]
        super()._set_default_parameters()
        own = Path(given) / self.dataset
        if "data_path" in self.external_config_dict and (own / f"{self.dataset}.inter").is_file():
            self.final_config_dict["data_path"] = str(own)

    def _init_device(self) -> None:
        self.final_config_dict.pop("local_rank", None)  # RecBole would start a group, for GPUs only
        super()._init_device()
        number, count = processes.rank() - self["group_offset"], self["nproc"]
        if number > 0:
            self.final_config_dict.update(state="ERROR", show_progress=False)  # only the first one logs
        if count > 1 and self["device"].type == "cuda":
            if torch.cuda.device_count() < count:
                problem = f"{count} processes need as many GPUs"
                raise ConfigError("gpu_id", self["gpu_id"], problem, f"give {count} of them, or a smaller nproc")
            self.final_config_dict["device"] = torch.device("cuda", max(number, 0))
            torch.cuda.set_device(self["device"])

    def _get_final_config_dict(self) -> dict[str, Any]:
        known = set(self.internal_config_dict)
        known.update(name for name, row in PARAMETERS.items() if row.part != "backbone")
        known.update(name for names in self.parameters.values() for name in names)
        ours = [name for name, row in PARAMETERS.items() if row.source != "RecBole"]
        for name, value in self.external_config_dict.items():
            if name in ours and name not in known:
                problem = "is a parameter of another backbone"
                raise ConfigError(name, value, problem, "leave it out, or choose a backbone that has it")
            check_known("parameter", name, known, value, ours)
            default = self.internal_config_dict.get(name)
            self.external_config_dict[name] = check_type(name, value, default)
        final = super()._get_final_config_dict()
        check_values(final, set(self.external_config_dict))
        return final


def _is_text(name: str) -> bool:
    """Whether every value of a parameter is text, so that ``2024_01`` or ``1.10`` is a name and no number."""
    return name in PARAMETERS and {*PARAMETERS[name].types} - {type(None)} == {str}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, set):  # its own order differs from process to process
        return [_plain(inner) for inner in sorted(value, key=str)]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
