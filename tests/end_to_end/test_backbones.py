from __future__ import annotations

import json

import pytest

from recbole_raserec.cli import main

# Real histories of ml-100k with 150 to 200 ratings, cut to the last 10 items. A backbone takes seconds.
SMALL = (
    "--dataset=ml-100k --user_inter_num_interval=[150,201) --MAX_ITEM_LIST_LENGTH=10 --window_stride=10 "
    "--epochs=3 --learning_rate=0.01 --train_batch_size=256 --finetune_epochs=1 --show_progress=False"
)
SIZES = {
    "SASRec": "--hidden_size=16 --inner_size=32",
    "DuoRec": "--hidden_size=16 --inner_size=32",
    "GRU4Rec": "--embedding_size=16 --hidden_size=16",
    "BERT4Rec": "--hidden_size=16 --inner_size=32",
    "NARM": "--embedding_size=16 --hidden_size=16",
    "Caser": "--embedding_size=16",
    "STAMP": "--embedding_size=16",
}


QUICK = {"SASRec", "GRU4Rec"}  # one of ours, and one on prefixes
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SIZES]


@pytest.mark.parametrize("backbone", EACH)
def test_raserec_is_compared_with_any_backbone_from_the_command_line(backbone, own_folder):
    words = f"run --model=RaSeRec --backbone={backbone} {SMALL} {SIZES[backbone]} --result_file=r.json"
    assert main(words.split()) == 0
    result = json.loads((own_folder / "r.json").read_text())
    assert result["backbone"]["name"] == backbone
    assert result["backbone"]["valid"]["recall@20"] > 0.02
    assert set(result["improvement"]) == set(result["improvement_masked"])


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ("FPMC", "its forward needs next_item"),
        ("S3Rec", "its forward needs bidirectional"),
        ("NPE", "its scores are not inner products"),
        ("TransRec", "loss_type: CE"),
        ("GRU5Rec", "did you mean 'GRU4Rec'"),
        ("BPR", "unknown backbone"),
    ],
)
def test_a_model_that_cannot_serve_is_told_why(backbone, says, capsys):
    assert main(f"run --model=RaSeRec --backbone={backbone} {SMALL}".split()) == 2
    assert says in capsys.readouterr().err
