"""The yaml files of properties/, and the names of all backbones, presets and data sets."""

from __future__ import annotations

import inspect
from pathlib import Path

import recbole.model.sequential_recommender as recbole_models
from recbole.model.abstract_recommender import SequentialRecommender

MODELS = ("RaSeRec",)
REGENERATION = "DR4SR"
BASED_ON = "based_on"  # key for another file; the values of this file override those of that file


def properties_folder() -> Path:
    """The folder of the yaml files: inside the installed package, or beside the package in a clone."""
    package = Path(__file__).parent.parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


def backbone_names() -> list[str]:
    """Names that ``backbone`` may have: our backbones and all sequential models of RecBole, usable or not."""
    recboles = {
        name
        for name, value in vars(recbole_models).items()
        if inspect.isclass(value) and issubclass(value, SequentialRecommender) and value is not SequentialRecommender
    }
    return sorted(recboles | set(_stems("model")) - {*MODELS, REGENERATION})


def preset_names() -> list[str]:
    """Names that ``preset`` may have."""
    return _stems("preset")


def dataset_names() -> list[str]:
    """Names of the data sets that have their own parameters."""
    return _stems("dataset")


def _stems(folder: str) -> list[str]:
    return sorted(file.stem for file in (properties_folder() / folder).glob("*.yaml"))
