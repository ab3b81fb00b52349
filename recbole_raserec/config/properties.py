"""The yaml files of properties/, and the names that they and RecBole give to backbones, presets and data sets."""

from __future__ import annotations

import inspect
from pathlib import Path

import recbole.model.sequential_recommender as recbole_models
from recbole.model.abstract_recommender import SequentialRecommender

MODELS = ("RaSeRec",)
REGENERATION = "DR4SR"
BASED_ON = "based_on"  # names the file, beside this one, that it is laid over


def properties_folder() -> Path:
    """Where the yaml files are: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parent.parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


def backbone_names() -> list[str]:
    """Everything that ``backbone`` may name: RecBole's sequential models, whether or not they can serve, and ours."""
    recboles = {
        name
        for name, value in vars(recbole_models).items()
        if inspect.isclass(value) and issubclass(value, SequentialRecommender) and value is not SequentialRecommender
    }
    return sorted(recboles | set(_stems("model")) - {*MODELS, REGENERATION})


def preset_names() -> list[str]:
    """Everything that ``preset`` may name."""
    return _stems("preset")


def dataset_names() -> list[str]:
    """Data sets that have parameters of their own."""
    return _stems("dataset")


def _stems(folder: str) -> list[str]:
    return sorted(file.stem for file in (properties_folder() / folder).glob("*.yaml"))
