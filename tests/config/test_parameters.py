"""The table of parameters, the yaml files that users read, and the code that reads the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbole_raserec import Config, ConfigError
from recbole_raserec.config.checks import check_type
from recbole_raserec.config.parameters import NEWER, PARAMETERS
from recbole_raserec.config.properties import backbone_names, dataset_names, preset_names, properties_folder
from recbole_raserec.config.rows import AFFECTS
from recbole_raserec.reporting.page import labels, sweeps
from recbole_raserec.training.checkpoints import fingerprint

FOLDER = properties_folder()
DEFAULTS = [FOLDER / name for name in ("overall.yaml", "model/RaSeRec.yaml", "model/DR4SR.yaml", "model/SASRec.yaml")]
OTHERS = [
    FOLDER / "model/DuoRec.yaml",
    *(file for f in ("dataset", "preset", "shared") for file in FOLDER.glob(f + "/**/*.yaml")),
]


@pytest.fixture
def plain():
    return Config("RaSeRec", "tiny")


def test_the_data_sets_of_published_figures_keep_the_settings_of_these_figures():
    for name in dataset_names():
        found = Config("RaSeRec", name).plain()
        assert all(found[key] == value for key, value in NEWER.items()) == name.startswith("amazon-")


@pytest.mark.parametrize("file", DEFAULTS, ids=lambda file: file.stem)
def test_a_yaml_of_defaults_is_the_table(file, plain):
    types = dict(re.findall(r"^(\w+):.*?# \((\w+)\)", file.read_text(), re.MULTILINE))
    for name, value in plain._load_properties(file).items():
        row = PARAMETERS[name]
        assert (name, value, type(value)) == (name, row.default, type(row.default))
        assert types[name] in {kind.__name__ for kind in row.types}, name


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.stem)
def test_other_yamls_hold_values_that_their_rows_allow(file, plain):
    for name, value in plain._load_properties(file).items():
        row = PARAMETERS[name]
        assert check_type(name, value, row.default) == value
        assert row.range is None or row.range.holds(value), name


def test_every_row_of_ours_stands_in_a_yaml(plain):
    written = {name for file in (*DEFAULTS, FOLDER / "model/DuoRec.yaml") for name in plain._load_properties(file)}
    assert {name for name, row in PARAMETERS.items() if row.source != "RecBole"} <= written


def test_rows_of_recbole_have_recboles_defaults(plain):
    before = plain.internal_config_dict
    differing = {name for name, row in PARAMETERS.items() if name in before and before[name] != row.default}
    assert differing == {"eval_args"}  # RecBole adds group_by later


def test_rows_are_whole():
    for name, row in PARAMETERS.items():
        assert row.affects in AFFECTS, name
        assert row.part and row.source, name
        assert row.meaning.endswith("."), name
        assert row.range is None or row.range.holds(row.default), name


def test_a_file_of_properties_is_laid_over_the_one_it_is_based_on(plain, own_folder):
    Path("shared").mkdir()
    Path("shared/base.yaml").write_text("top_k: 3\nalpha: 0.1\n")
    Path("mine.yaml").write_text("based_on: shared/base.yaml\nalpha: 0.2\n")
    assert plain._load_properties(Path("mine.yaml")) == {"top_k": 3, "alpha": 0.2}


def test_data_sets_of_amazon_share_their_parameters():
    one, *others = (Config("RaSeRec", name).plain() for name in dataset_names() if name.startswith("amazon-"))
    assert len(others) == 2
    assert "based_on" not in one
    for other in others:
        assert {name for name in one if one[name] != other[name]} == {"dataset", "data_path"}


def test_based_on_is_for_properties_only(own_folder):
    Path("mine.yaml").write_text("based_on: other.yaml\n")
    with pytest.raises(ConfigError, match=r"based_on='other\.yaml': unknown parameter"):
        Config("RaSeRec", "tiny", ["mine.yaml"])


def test_names_are_those_of_the_files_and_of_recbole(plain):
    assert {"SASRec", "DuoRec", "GRU4Rec", "BERT4Rec"} <= set(backbone_names())
    assert {"RaSeRec", "DR4SR", "SequentialRecommender"}.isdisjoint(backbone_names())
    assert preset_names() == ["best", "full", "safe"]
    assert plain.known_datasets() == ["amazon-beauty", "amazon-sports-outdoors", "amazon-toys-games", "ml-100k"]


def test_a_parameter_of_another_backbone_is_named():
    assert Config("RaSeRec", "tiny", arguments=["--backbone=DuoRec", "--contrast_tau=2"])["contrast_tau"] == 2
    with pytest.raises(ConfigError, match="contrast_tau=2: is a parameter of another backbone"):
        Config("RaSeRec", "tiny", arguments=["--contrast_tau=2"])


def test_a_report_tells_runs_apart_by_what_changes_their_figures():
    def run(**changed):
        config = {"top_k": 20, "alpha": 0.5, "nproc": 1, "eval_batch_size": 512, **changed}
        return {"dataset": {"name": "d", "sha256": "s"}, "backbone": {"name": "b"}, "seed": 1, "config": config}

    same = labels([run(), run(nproc=2, eval_batch_size=64, gpu_id="1")])
    assert same == ["d, b, seed 1, run 1", "d, b, seed 1, run 2"]
    assert len(set(labels([run(), run(memory_include_valid=True)]))) == 2
    assert [(name, len(series)) for name, series in sweeps([run(), run(alpha=0.1, nproc=2)])] == [("alpha", 2)]


def test_a_newer_parameter_at_its_earlier_value_changes_no_name_and_no_label():
    assert (NEWER["index_recall"], NEWER["safeguard"], NEWER["retrieval_strength"]) == (0.0, False, [1.0])
    now = {**Config("RaSeRec", "tiny").plain(), **NEWER}
    old = {name: value for name, value in now.items() if name not in NEWER}
    for stage in ("regenerate", "pretrain", "finetune", "raserec"):
        assert fingerprint(now, "data", stage) == fingerprint(old, "data", stage)
    tuned = {**now, "index_recall": 0.9}
    assert fingerprint(tuned, "data", "finetune") != fingerprint(now, "data", "finetune")
    assert fingerprint(tuned, "data", "pretrain") == fingerprint(now, "data", "pretrain")
    runs = [
        {"dataset": {"name": "d", "sha256": "s"}, "backbone": {"name": "b"}, "seed": 1, "config": config}
        for config in (old, now, {**now, "alpha": 0.1})
    ]
    assert labels(runs[:2]) == ["d, b, seed 1, run 1", "d, b, seed 1, run 2"]
    assert [(name, len(series)) for name, series in sweeps(runs)] == [("alpha", 3)]


def test_names_of_runs_are_those_of_the_first_release():
    """Checkpoints and results of earlier runs are found by these names. The stride was 1, and there was no mixture."""
    earlier = ["--window_stride=1", "--mixture_weight=0", "--mixture_top_k=200"]
    plain = {**Config("RaSeRec", "tiny", arguments=earlier).plain(), **NEWER}
    names = [fingerprint(plain, "data", stage) for stage in ("pretrain", "finetune", "raserec")]
    assert names == ["6045f6ae7e", "e9c15742db", "8c7b346f2b"]
