"""RecBole's own ``run_recbole`` on today's Python, numpy, pandas, torch and ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.transform import construct_transform
from recbole.utils import get_flops, get_model, get_trainer, init_seed

from recbole_raserec.runtime.recbole_faults import (
    init_logger,
    quieten,
    repaired_datasets,
    restore_numpy_names,
    without_anomaly_mode,
)
from recbole_raserec.runtime.shield import SafeConfig, shielded


def run_recbole(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """Train and test one of RecBole's own models in one process, for data sets that ``regenerate`` wrote, too.

    The steps, the parameters and the result are those of ``recbole.quick_start.run_recbole``. That one is not called
    because its module imports ray before anything else, and a current ray has another API. The yaml in the
    data set's folder, which says how it is split, is put before ``config_file_list``. It is found if ``dataset`` and
    ``config_dict["data_path"]`` are given here; any other source of them is read too late. RecBole reads the command
    line.
    """
    settings = dict(config_dict or {})
    own = Path(settings.get("data_path", "dataset")) / str(dataset) / f"{dataset}.yaml"
    files = [*([str(own)] if own.is_file() else []), *(config_file_list or [])]
    quieten()
    restore_numpy_names()
    with repaired_datasets(), shielded(), without_anomaly_mode():
        return _run(SafeConfig(model, dataset, files, settings), saved)


def _run(config: Config, saved: bool) -> dict[str, Any]:
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logger = logging.getLogger()
    logger.info(config)
    data = create_dataset(config)
    logger.info(data)
    train, valid, test = data_preparation(config, data)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    logger.info(model)
    flops = get_flops(
        model, data, config["device"], logger, construct_transform(config)
    )  # it draws random numbers, too
    logger.info(f"FLOPs: {flops}")
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    show_progress = config["show_progress"]
    best_score, best = trainer.fit(train, valid, saved=saved, show_progress=show_progress)
    result = {
        "best_valid_score": best_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best,
        "test_result": trainer.evaluate(test, load_best_model=saved, show_progress=show_progress),
    }
    logger.info(result)
    return result
