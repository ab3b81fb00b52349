"""A pre-trained backbone is used only where it fits."""

from pathlib import Path

import pytest
import torch

from recbole_raserec import ConfigError, run
from recbole_raserec.training import backbone, checkpoints
from tests.training.stages import build, load_into, pretrain


def test_pretrained_skips_the_first_stage_and_must_fit(make_config, tiny_data):
    stage, weights = pretrain(make_config(epochs=2))
    path = stage.saved_model_file

    dataset, model = build(make_config())
    pretrained = backbone.pretrain(make_config(pretrained=path), model, dataset)
    assert pretrained.course is None
    assert all(torch.equal(weights[name], value) for name, value in model.backbone.state_dict().items())

    others = ({"n_heads": 4}, "n_heads=2"), ({"hidden_size": 32}, "hidden_size=16"), ({"score_tau": 0.1}, "score_tau=0")
    for overrides, says in others:
        config = make_config(pretrained=path, **overrides)
        with pytest.raises(ConfigError, match=says):
            load_into(config)

    narrow = pretrain(make_config(epochs=1, average_weight=0.5, average_window=3))[0].saved_model_file
    older = torch.load(narrow)
    del older["config"]["average_form"]
    checkpoints.save(Path("narrow.pth"), older)
    assert load_into(make_config(pretrained="narrow.pth", average_weight=0.5, average_window=3)).course is None
    config = make_config(pretrained=narrow, average_weight=0.5)
    with pytest.raises(ConfigError, match="trained with average_window=3, and this run has average_window=10"):
        load_into(config)

    config = make_config(pretrained=str(stage.last_file))
    with pytest.raises(ConfigError, match="the last epoch of a run, not a trained backbone"):
        load_into(config)

    inter = tiny_data / "tiny" / "tiny.inter"
    inter.write_text(inter.read_text() + "40\t3\t99\n")
    with pytest.raises(ConfigError, match="trained on other data"):
        load_into(make_config(pretrained=path))


def test_a_pretrained_backbone_that_ranks_otherwise_is_refused(make_config):
    """As after other filters, by which items have other numbers."""
    path = pretrain(make_config(epochs=3))[0].saved_model_file
    other = {"metrics": ["MRR"], "topk": [3], "valid_metric": "MRR@3"}
    assert set(load_into(make_config(pretrained=path, **other)).valid) == {"mrr@3"}

    state = checkpoints.load(path, "cpu")
    vectors = state["state_dict"]["item_embedding.weight"]
    vectors[1:] = vectors[1:].flip(0)
    checkpoints.save(Path("renumbered.pth"), state)
    for how in ({}, other, {"metric_decimal_place": 1}):
        with pytest.raises(ConfigError, match=r"its \w+@\d+ on the validation part was .* in training, and here"):
            load_into(make_config(pretrained="renumbered.pth", **how))
    assert load_into(make_config(pretrained=path, metric_decimal_place=1)).course is None

    state["state_dict"]["item_embedding.weight"] = vectors[:-1]
    checkpoints.save(Path("smaller.pth"), state)
    with pytest.raises(ConfigError, match="its weights are of another backbone"):
        load_into(make_config(pretrained="smaller.pth"))


def test_resuming_does_not_mix_backbones(make_config):
    """A run does not use the fine-tuning checkpoint of another backbone."""
    first, _ = pretrain(make_config(seed=1))
    second, _ = pretrain(make_config(seed=2))
    names = []
    for stage in (first, second):
        config = make_config(pretrained=stage.saved_model_file, resume=True)
        run(dataset="tiny", config_dict=config.external_config_dict)
        names.append(sorted(path.name for path in Path("saved").glob("*finetune*.last.pth")))
    assert len(names[0]) == 1
    assert len(names[1]) == 2


@pytest.mark.parametrize("content", [None, b"", b"junk", "pickle"])
def test_files_that_are_no_checkpoints_are_refused(content, own_folder):
    path = Path("x.pth")
    if content == "pickle":
        torch.save({"config": Path("a")}, path)  # any class of Python's
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"pretrained='x\.pth'"):
        checkpoints.load(path, "cpu")
