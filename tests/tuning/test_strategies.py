from __future__ import annotations

import pytest

from recbole_raserec import Config
from recbole_raserec.tuning.space import Dimension
from recbole_raserec.tuning.strategies import most_reports


@pytest.mark.parametrize(
    ("given", "space", "trains_backbone", "most"),
    [
        ({"epochs": 300, "finetune_epochs": 50}, {}, True, 351),
        ({"epochs": 300, "finetune_epochs": 50}, {}, False, 51),
        ({"epochs": 5, "finetune_epochs": 2}, {"finetune_epochs": (2, 20)}, True, 26),
        ({"epochs": 5, "finetune_epochs": 2}, {"epochs": (4, 8), "finetune_epochs": (1, 3)}, True, 12),
        ({"epochs": 25, "finetune_epochs": 7, "eval_step": 10}, {}, True, 4),
        ({"epochs": 5, "finetune_epochs": 7, "eval_step": 10}, {}, True, 3),
        ({"epochs": 25, "finetune_epochs": 7}, {"eval_step": (10, 5)}, True, 7),
    ],
)
def test_a_trial_reports_after_each_validation_and_at_its_end(given, space, trains_backbone, most):
    config = Config("RaSeRec", "tiny", config_dict=given)
    dimensions = [Dimension(name, "choice", values) for name, values in space.items()]
    assert most_reports(config, dimensions, trains_backbone) == most
