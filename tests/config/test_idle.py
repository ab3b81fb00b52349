from __future__ import annotations

from pathlib import Path

import pytest

from recbole_raserec import Config, run


def config(*arguments, **parameters):
    return Config("RaSeRec", "tiny", None, parameters, arguments)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--decode_gamma=0.5"], {"decode_gamma"}),
        (["--decode_gamma=0.5", "--regenerate=DR4SR"], set()),
        (["--decode_gamma=0.5", "--regenerate=DR4SR", "--regenerate_parts=original,patterns"], {"decode_gamma"}),
        (["--pattern_window=4"], {"pattern_window"}),
        (["--pattern_window=4", "--memory=pairs,patterns"], set()),
        (["--pattern_weight=.5", "--memory=pairs,patterns"], {"pattern_weight"}),
        (["--pattern_weight=.5", "--regenerate=DR4SR", "--regenerate_parts=original,decoded"], {"pattern_weight"}),
        (["--personalize_terms=2", "--regenerate=DR4SR"], {"personalize_terms"}),
        (["--personalize_terms=2", "--regenerate=DR4SR+"], set()),
        (["--time_shares=[0.7,0.2,0.1]"], {"time_shares"}),
        (["--time_shares=[0.7,0.2,0.1]", "--split=time"], set()),
        (["--epochs=7", "--pretrained=some.pth"], {"epochs"}),
        (["--average_window=5"], {"average_window"}),
        (["--average_window=5", "--average_weight=.7"], set()),
        (["--average_window=5", "--preset=best"], set()),
        (["--backbone=DuoRec", "--contrast_tau=2", "--contrast_weight=0"], {"contrast_tau"}),
        (["--backbone=DuoRec", "--contrast_tau=2"], set()),
        (["--index_nprobe=8"], {"index_nprobe"}),
        (["--index_nprobe=8", "--index_factory=IVF64,Flat"], set()),
        (["--index_nprobe=8", "--index_factory=IVF64,Flat", "--index_recall=.9"], {"index_nprobe"}),
        (["--beta=.5", "--cross_heads=1", "--alpha=1"], {"beta", "cross_heads"}),
        (["--mixture_tau=.3", "--mixture_top_k=50", "--mixture_weight=0"], {"mixture_tau", "mixture_top_k"}),
        (["--mixture_tau=.3"], set()),
        (["--wandb_project=mine"], {"wandb_project"}),
        (["--mixture_weight=0", "--preset=full", "--pattern_min_support=3"], set()),
    ],
)
def test_what_changes_nothing_is_found(arguments, names):
    assert set(config(*arguments).idle) == names


def test_the_value_in_force_is_no_change():
    assert not config(decode_gamma=1.0, mixture_tau=0.2, mixture_weight=0, time_shares=[0.8, 0.1, 0.1]).idle


def test_the_first_reason_is_the_one_to_act_on():
    assert config("--decode_gamma=.5").idle["decode_gamma"] == "regenerate is not given"


GENERATING = {
    "regenerator_epochs": 3,
    "regenerator_diversity": 2,
    "regenerator_n_heads": 1,
    "regenerator_embedding_epochs": 1,
    "decode_gamma": 0.5,
    "decode_max_length": 9,
    "decode_weight": 0.5,
    "pattern_pairs": 3,
    "personalize_every": 2,
    "personalize_warmup_epochs": 0,
}


@pytest.mark.parametrize(
    ("fixed", "others"),
    [
        (
            {"mixture_weight": 0},
            {
                **GENERATING,
                "pattern_window": 3,
                "pattern_min_support": 1,
                "pattern_weight": 0.5,
                "time_shares": [0.6, 0.2, 0.2],
                "average_window": 3,
                "average_form": "filter",
                "index_nprobe": 2,
                "index_recall": 0.9,
                "mixture_tau": 0.5,
                "mixture_top_k": 9,
                "mixture_popularity_exponent": 0.5,
                "wandb_project": "mine",
            },
        ),
        ({"regenerate": "DR4SR", "regenerate_parts": ["original", "patterns"]}, GENERATING),
        (
            {"alpha": 1},
            {"beta": 0.3, "attn_tau": 0.5, "cross_heads": 1, "cross_inner_size": 8, "cross_dropout_prob": 0.1},
        ),
        ({"backbone": "DuoRec", "contrast_weight": 0}, {"contrast_tau": 2.0}),
    ],
)
def test_what_changes_nothing_changes_no_figure(make_config, caplog, fixed, others):
    plain = run("RaSeRec", "tiny", config_dict=make_config(**fixed).external_config_dict)
    config = make_config(**fixed, **others, checkpoint_dir="apart")
    assert set(config.idle) >= set(others)
    caplog.clear()
    same_figures(plain, run("RaSeRec", "tiny", config_dict=config.external_config_dict))
    said = [record.getMessage() for record in caplog.records if "changes nothing" in record.getMessage()]
    assert len(said) == len(config.idle)


def test_how_a_backbone_is_trained_changes_nothing_once_it_is(make_config):
    run("RaSeRec", "tiny", config_dict=make_config().external_config_dict)
    fixed = {"pretrained": str(next(Path("saved").glob("*pretrain-??????????.pth")))}
    others = {"epochs": 1, "stopping_step": 1, "learning_rate": 0.5, "train_batch_size": 3, "window_stride": 2}
    plain, changed = make_config(**fixed), make_config(**fixed, **others, checkpoint_dir="apart")
    assert set(changed.idle) == {*plain.idle, *others}
    same_figures(*(run("RaSeRec", "tiny", config_dict=made.external_config_dict) for made in (plain, changed)))


def same_figures(one, other):
    assert one.test_ranks == other.test_ranks
    assert one.valid_curves == other.valid_curves
