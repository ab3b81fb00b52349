"""A search on Ray Tune. The data are loaded once, and everything that all trials share is computed once."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import os
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from recbole_raserec.config.config import Config
from recbole_raserec.config.idle import idle_in_all
from recbole_raserec.config.parameters import affects, is_of
from recbole_raserec.config.words import check_known, parse_arguments
from recbole_raserec.data.dataset import SequenceDataset, load_dataset
from recbole_raserec.errors import ConfigError
from recbole_raserec.pipeline import with_generated
from recbole_raserec.runtime.files import check_files, only_writer
from recbole_raserec.runtime.ray import connected
from recbole_raserec.runtime.recbole_faults import init_logger, quieten
from recbole_raserec.training import checkpoints
from recbole_raserec.training.build import build_model
from recbole_raserec.tuning.ledger import Ledger
from recbole_raserec.tuning.space import Dimension, read_space
from recbole_raserec.tuning.strategies import SCHEDULERS, SEARCHES, algorithm, most_reports, scheduler
from recbole_raserec.tuning.table import format_trials, write_trials
from recbole_raserec.tuning.trial import Shared, Sources, Start, is_whole, run_trial, with_whole_numbers

_MOST_COMBINATIONS = 10_000  # a check of one takes some microseconds


def tune(
    params_file: str,
    output: str,
    num_samples: int = 10,
    search: str = "random",
    scheduler: str = "fifo",
    ray_address: str = "local",
    resources_per_trial: dict[str, float] | None = None,
    resume: bool = False,
    model: str | None = "RaSeRec",
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Search the space of ``params_file`` for the best validation score. The test part is never used.

    The other parameters are those of :class:`~recbole_raserec.config.config.Config`. The folder ``output`` gets
    trials.csv and trials.json (best trial first), best.yaml for ``run --config_files=``, and the checkpoints.

    Parameters
    ----------
    num_samples : number of trials; with ``search="grid"`` the number of repetitions of the grid.
    scheduler : "asha" stops trials early if they fall behind.
    ray_address : "local" starts Ray on this machine, "auto" finds the running cluster; otherwise a cluster's address.
    resources_per_trial : for example ``{"cpu": 2, "gpu": 1}``. The default is as many CPUs as torch uses threads
        here, so the figures equal those of ``run``, and a GPU if the configuration uses one.
    resume : continue the search in ``output``. Ended trials are not run again.

    Returns
    -------
    The trials as in trials.json.

    Raises
    ------
    ConfigError, DataError : the input is wrong; raised before any training.
    """
    quieten()
    check_known("search", search, SEARCHES)
    check_known("scheduler", scheduler, SCHEDULERS)
    _check_amounts(num_samples, resources_per_trial or {})
    if search == "optuna" and importlib.util.find_spec("optuna") is None:
        raise ConfigError("search", search, "optuna is not installed", "pip install optuna, or use --search=random")
    space = read_space(params_file)
    folder = Path(output)
    sources = _sources(folder, model, dataset, config_file_list, config_dict, arguments)
    config = sources.config({})
    values = _checked(space, sources, config)
    for dimension in space:
        dimension.domain(search == "grid")
    check_files(config.final_config_dict)
    init_logger(config)
    _warn_of_idle(config, values)
    data = load_dataset(config)
    with connected(ray_address), only_writer(folder / "trials", resume, field="output"):
        ledger = Ledger(folder / "ended", resume, _base(config, data))
        shared = _share(config, data, space, sources, ledger.read())
        resources = resources_per_trial or _resources(config)
        _run_on_ray(shared, space, config, ledger, resources, num_samples, search, scheduler)
        trials = ledger.trials()
        write_trials(folder, trials, _best_yaml(sources, trials, set(_own_values(folder))))
    print(format_trials(trials, config["valid_metric"].lower()))
    return trials


def _sources(
    folder: Path,
    model: str | None,
    dataset: str | None,
    files: Sequence[str] | None,
    values: dict[str, Any] | None,
    arguments: Sequence[str],
) -> Sources:
    """The sources of every trial. Checkpoints go to the search's own folder, and interrupted trials continue."""
    given = {**(values or {}), **parse_arguments(arguments)}
    for name in ("checkpoint_dir", "result_file"):
        if name in given:
            raise ConfigError(name, given[name], "a search writes to --output", "leave it out")
    return Sources(model, dataset, tuple(files or ()), {**(values or {}), **_own_values(folder)}, tuple(arguments))


def _own_values(folder: Path) -> dict[str, Any]:
    """Parameters that the search itself sets for every trial."""
    return {"checkpoint_dir": str(folder / "checkpoints"), "resume": True, "ray_address": None}  # trials are Ray's


def _check_amounts(num_samples: int, resources: dict[str, float]) -> None:
    if num_samples < 1:
        raise ConfigError("num_samples", num_samples, "no trial would run", "give at least 1")
    for name, amount in resources.items():
        if not 0 <= amount < math.inf:
            raise ConfigError("resources_per_trial", f"{name}={amount}", "not an amount", "for example cpu=2,gpu=1")


def _checked(space: list[Dimension], sources: Sources, config: Config) -> dict[str, list[Any]]:
    """Values of each dimension. ConfigError if it cannot be searched, or if ``run`` would refuse one of them."""
    values: dict[str, list[Any]] = {}
    of_data = {*config.parameters["Dataset"], *config.parameters["Evaluation"]}  # RecBole's own lists
    given = parse_arguments(sources.arguments)
    for dimension in space:
        name = dimension.name
        if name in of_data or is_of(name, "data"):
            problem = "a parameter of the data or of the protocol, which all trials share"
            raise ConfigError(name, list(dimension.values), problem, "run a separate search for each value")
        if name in given:
            problem = "is in the params_file too"
            raise ConfigError(f"--{name}", given[name], problem, "leave one of the two out")
        if dimension.draws_fractions and is_whole(config, name):
            problem = f"{dimension.kind} draws fractions, and {name} is a whole number"
            raise ConfigError(name, list(dimension.values), problem, f"write {name}: {{randint: [low, high + 1]}}")
        points = (with_whole_numbers({name: value}, config) for value in dimension.examples)
        values[name] = [sources.config(point)[name] for point in points]
    return values


def _warn_of_idle(config: Config, values: dict[str, list[Any]]) -> None:
    """Tell what changes nothing in any trial, so that no time is lost on it.

    Every combination of the values is looked at. Of a space with very many, nothing is told.
    """
    if math.prod(map(len, values.values())) > _MOST_COMBINATIONS:
        return
    points = (dict(zip(values, point)) for point in product(*values.values()))
    finals = ({**config.final_config_dict, **point} for point in points)
    for name, why in idle_in_all(finals, [*values, *config.idle]).items():
        logging.getLogger().warning(f"{name} changes nothing in any trial: {why}")


def _base(config: Config, data: SequenceDataset) -> str:
    """Identifies what all trials have in common: the data, the parameters, and what the trained parts begin with."""
    files = (checkpoints.file_digest(config[name]) for name in ("pretrained", "regenerator_pretrained"))
    return checkpoints.fingerprint(config.plain(), " ".join([data.sha256, *files]), "raserec")


def _share(
    config: Config, data: SequenceDataset, space: list[Dimension], sources: Sources, known: dict[str, dict[str, Any]]
) -> Shared:
    """What the trials share. If only stage three is searched, train the backbone and search its memory."""
    others = Path.cwd(), torch.get_num_threads(), known
    names = {dimension.name for dimension in space}
    if all(checkpoints.is_stage_three(name) for name in names):
        generated, _ = with_generated(config, data)
        deepest = config.changed(**_deepest(config, space))
        start = Start.made(deepest, build_model(deepest, generated), generated)
        if all(affects(name) != "memory" for name in names):
            return Shared(sources, generated, start, *others)
    return Shared(sources, data, None, *others)


def _deepest(config: Config, space: list[Dimension]) -> dict[str, Any]:
    """Parameters with which the memory search finds as many memories as any trial reads."""
    tried = {dimension.name: dimension.examples for dimension in space}
    most = {name: int(max(tried.get(name, [config[name]]))) for name in ("top_k", "mixture_top_k")}
    return {**most, **({"mixture_weight": [0.5]} if "mixture_weight" in tried else {})}


def _resources(config: Config) -> dict[str, float]:
    needs: dict[str, float] = {"cpu": torch.get_num_threads()}
    return {**needs, "gpu": 1} if torch.device(config["device"]).type == "cuda" else needs


def _run_on_ray(
    shared: Shared,
    space: list[Dimension],
    config: Config,
    ledger: Ledger,
    resources: dict[str, float],
    num_samples: int,
    search: str,
    schedule: str,
) -> None:
    from ray import tune

    run_config = getattr(tune, "RunConfig", None) or importlib.import_module("ray.air").RunConfig  # since Ray 2.43
    scratch = ledger.folder.parent / "ray"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a killed search; ended trials are in the ledger
    most = most_reports(config, space, trains_backbone=shared.start is None and config["pretrained"] is None)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # at Ctrl-C Ray would end the search as if it were complete

    def as_run(point: dict[str, Any]) -> dict[str, Any]:
        return with_whole_numbers(point, config)

    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, shared=shared), resources),
        param_space={dimension.name: dimension.domain(search == "grid") for dimension in space},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=num_samples,
            search_alg=algorithm(search, config["seed"]),
            scheduler=scheduler(schedule, most),
        ),
        run_config=run_config(
            name="trials",
            storage_path=str(scratch.resolve()),
            callbacks=[ledger.callback(as_run)],
            verbose=1,
        ),
    ).fit()
    ledger.write_failures(results, as_run)


def _best_yaml(sources: Sources, trials: list[dict[str, Any]], left_out: set[str]) -> dict[str, Any] | None:
    """The parameters that ``run`` needs: the given ones without ``left_out``, and the best point; None without one."""
    finished = [trial for trial in trials if trial["status"] == "finished"]
    if not finished:
        return None
    config = sources.config(finished[0]["point"])
    values = {**config.plain(), "data_path": str(config.output_path)}  # RecBole appends the name of the data set
    given = {name: values[name] for name in config.external_config_dict if name not in left_out}
    return {"model": config["model"], "dataset": config["dataset"], **given}
