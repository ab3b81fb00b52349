from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import recbole.data.dataset.dataset as recbole_dataset

from recbole_raserec import Config, SequenceDataset, run_recbole
from recbole_raserec.runtime.recbole_faults import quieten


@pytest.fixture
def holes(tiny_data: Path) -> Path:
    """User, item and float features of the small data with missing values in them."""
    users = [
        f"{user}\t{'' if user % 3 == 0 else f'g{user % 2}'}\t{'' if user % 4 == 0 else user}" for user in range(1, 41)
    ]
    items = [f"{item}\t{'' if item % 5 == 0 else 'a b'}\t{'' if item == 7 else item}" for item in range(1, 26)]
    folder = tiny_data / "tiny"
    (folder / "tiny.user").write_text("user_id:token\tgroup:token\tage:float\n" + "\n".join(users) + "\n")
    (folder / "tiny.item").write_text("item_id:token\ttags:token_seq\tprice:float\n" + "\n".join(items) + "\n")
    return tiny_data


COLUMNS = {
    "inter": ["user_id", "item_id", "timestamp"],
    "user": ["user_id", "group", "age"],
    "item": ["item_id", "tags", "price"],
}


def check_filled(dataset) -> None:
    """No NaN anywhere; tokens are padded, numbers are the mean of the others."""
    ages = dataset.user_feat["age"].numpy()
    known = np.array([user for user in range(1, 41) if user % 4])
    assert ages.shape == (41,)
    assert np.isfinite(ages[1:]).all()
    assert ages[1:].max() == pytest.approx(39)
    assert (np.abs(ages[1:] - known.mean()) < 1e-4).sum() >= 10
    assert np.isfinite(dataset.item_feat["price"].numpy()[1:]).all()
    groups = dataset.user_feat["group"].numpy()[1:]
    assert (groups == 0).sum() == 13
    assert sorted(set(groups.tolist())) == [0, 1, 2]
    assert (dataset.item_feat["tags"].numpy()[1:] == 0).all(axis=1).sum() == 5


def test_missing_values_are_filled_in_our_data_set(holes):
    dataset = SequenceDataset(Config("RaSeRec", "tiny", config_dict={"data_path": str(holes), "load_col": COLUMNS}))
    dataset.build()
    check_filled(dataset)


def test_missing_values_are_filled_in_recboles_own(holes, monkeypatch):
    seen = []
    build = recbole_dataset.Dataset._change_feat_format

    def watched(dataset):
        build(dataset)
        seen.append(dataset)

    monkeypatch.setattr(recbole_dataset.Dataset, "_change_feat_format", watched)
    settings = {"data_path": str(holes), "load_col": COLUMNS, "epochs": 1, "show_progress": False, "gpu_id": ""}
    settings |= {"train_neg_sample_args": None, "hidden_size": 16, "embedding_size": 16}
    settings["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
    result = run_recbole("GRU4Rec", "tiny", config_dict=settings)
    check_filled(seen[0])
    assert set(result) == {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}


def test_no_warning_of_recboles_lines_reaches_the_user(tiny_data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quieten()
        SequenceDataset(Config("RaSeRec", "tiny", config_dict={"data_path": str(tiny_data)})).build()
    assert [str(warning.message) for warning in caught if "recbole" in warning.filename] == []
