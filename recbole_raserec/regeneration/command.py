"""The command for stage one alone. It writes a regenerated data set to disk, for stock RecBole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole_raserec.config.checks import REGENERATIONS, check_heads, check_one_process
from recbole_raserec.config.config import MODELS, Config
from recbole_raserec.config.words import parse_arguments
from recbole_raserec.data.dataset import load_dataset
from recbole_raserec.errors import ConfigError
from recbole_raserec.regeneration.export import MANIFEST, export, format_manifest, separator
from recbole_raserec.regeneration.stage import regenerated
from recbole_raserec.runtime.files import check_files, check_folder_name, check_writable
from recbole_raserec.runtime.machine import peak_rss_mib, versions
from recbole_raserec.runtime.progress import bar
from recbole_raserec.runtime.recbole_faults import init_logger, quieten


def regenerate(
    output: str,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Path:
    """Write the regenerated data set ``output`` into the same folder as ``dataset``.

    The other parameters are those of :class:`~recbole_raserec.config.config.Config`.

    Returns
    -------
    Path of the manifest in the folder ``data_path/output``.

    Raises
    ------
    ConfigError, DataError : the input is wrong; raised before any training.
    """
    quieten()
    begin = perf_counter()
    if given := {**(config_dict or {}), **parse_arguments(arguments)}.get("result_file"):
        raise ConfigError("result_file", given, "regenerate writes none", "leave it out")
    config = Config(MODELS[0], dataset, config_file_list, config_dict, arguments)
    check_one_process(config.final_config_dict, "regenerate has one process; --ray_address spreads its decoding")
    config["regenerate"] = config["regenerate"] or REGENERATIONS[0]
    check_heads(config.final_config_dict)  # those of the regenerator, which a run without regeneration does not have
    folder = config.output_path / output
    check_output(output, config["dataset"], folder)
    check_files(config.final_config_dict)
    init_logger(config)
    original = load_dataset(config)
    separator(original)  # an error before the work, not after it
    data, manifest = regenerated(config, original)
    about = {"name": output, "source": config["dataset"], "parts": config["regenerate_parts"]}
    made = {**about, **manifest, "versions": versions()}
    path = export(data, folder, made, bar("write", bool(config["show_progress"])))
    print(format_manifest(made))
    print(f"wrote {folder} in {perf_counter() - begin:.0f} s; peak memory {peak_rss_mib():.0f} MiB")
    return path


def check_output(output: str, source: str, folder: Path) -> None:
    """Raise ConfigError if ``output`` is no folder name, or a data set that regeneration did not write."""
    check_folder_name("output", output, "give a name; it is written beside --dataset")
    if output == source:
        raise ConfigError("output", output, "this is the source", f"for example --output={output}-dr")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        problem = f"{folder} exists and was not written by regenerate"
        raise ConfigError("output", output, problem, "give another name")
    check_writable("output", folder)
