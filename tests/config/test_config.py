from __future__ import annotations

from pathlib import Path

import pytest

from recbole_raserec import Config, ConfigError
from recbole_raserec.config.properties import preset_names
from recbole_raserec.runtime.literals import literal
from recbole_raserec.training import checkpoints


def config(*arguments, files=None, **parameters):
    return Config("RaSeRec", "tiny", files, parameters, arguments)


def test_sources_have_recboles_order(own_folder):
    Path("a.yaml").write_text("alpha: 0.1\nbeta: 0.2\ntop_k: 3\nlearning_rate: 1e-2\n")
    made = config("--alpha=0.3", files=["a.yaml"], alpha=0.2, beta=0.4)
    assert (made["alpha"], made["beta"], made["top_k"], made["learning_rate"]) == (0.3, 0.4, 3, 0.01)


def test_a_preset_is_laid_over_the_properties_and_under_what_is_given():
    made = config("--preset=full", top_k=7, memory="pairs")
    assert (made["regenerate"], made["memory"], made["top_k"]) == ("DR4SR", ["pairs"], 7)
    assert config("--preset=full")["memory"] == ["pairs", "patterns"]


@pytest.mark.parametrize(
    ("backbone", "changed"),
    [
        ("SASRec", {"hidden_size", "inner_size", "average_weight", "score_tau", "learning_rate"}),
        ("DuoRec", {"average_weight"}),
    ],
)
def test_preset_best_is_preset_full_on_another_backbone(backbone, changed):
    full, best = (config(f"--preset={name}", f"--backbone={backbone}").plain() for name in ("full", "best"))
    assert {name for name in full if full[name] != best[name]} == {"preset", *changed}


def test_a_preset_may_have_values_for_one_backbone():
    assert [config("--preset=best", *of)["hidden_size"] for of in ([], ["--backbone=DuoRec"])] == [128, 64]
    assert config("--preset=best", "--backbone=DuoRec", "--hidden_size=32")["hidden_size"] == 32
    hstu = [config("--backbone=HSTU", f"--preset={name}") for name in preset_names()]
    assert {(made["attn_dropout_prob"], made["average_weight"]) for made in hstu} == {(0.0, 0.0)}


def test_a_whole_number_names_the_same_run_as_the_decimal():
    whole, decimal = config("--alpha=1", learning_rate=1), config("--alpha=1.0", learning_rate=1.0)
    names = {checkpoints.fingerprint(made.plain(), "data", "finetune") for made in (whole, decimal)}
    assert len(names) == 1


def test_defaults_are_recboles_and_ours():
    made = config()
    assert (made["hidden_size"], made["MAX_ITEM_LIST_LENGTH"], made["epochs"]) == (64, 50, 300)
    assert (made["top_k"], made["alpha"], made["valid_metric"]) == (20, 0.5, "NDCG@10")
    assert Config("RaSeRec", "ml-100k")["window_stride"] == 25
    assert Config("RaSeRec", "amazon-beauty")["user_inter_num_interval"] == "[5,inf)"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--alpah=0.3", "alpah=0.3: unknown parameter. did you mean 'alpha'"),
        ("--preset=fulll", "did you mean 'full'"),
        ("--alpha=1.5", r"alpha=1.5: must lie in \[0, 1\]"),
        ("--mixture_weight=[0,1]", r"mixture_weight=\[0, 1\]: must be numbers in \[0, 1\)"),
        ("--mixture_tau=0", "mixture_tau=0: must be numbers above 0"),
        ("--mixture_tau=[]", "mixture_tau=\\[\\]: names nothing"),
        ("--split=users", "must be one of leave_one_out, time"),
        ("--time_shares=[0.8,0.1]", r"time_shares=\[0.8, 0.1\]: must be three positive numbers whose sum is 1"),
        ("--time_shares=[0.9,0.1,0.1]", "must be three positive numbers"),
        ("--time_shares=[1,0,0]", "must be three positive numbers"),
        ("--alpha=nan", "alpha='nan': is of type str"),
        ("--alpha=", "alpha"),
        ("--beta=-0.1", "beta=-0.1"),
        ("--index_recall=1.1", r"index_recall=1.1: must lie in \[0, 1\]"),
        ("--index_recall=-0.1", r"index_recall=-0.1: must lie in \[0, 1\]"),
        ("--index_recall=high", "index_recall='high': is of type str"),
        ("--index_nprobe=0", "index_nprobe=0: must be at least 1"),
        ("--top_k=0", "top_k=0: must be at least 1"),
        ("--top_k=2.5", "top_k=2.5: is of type float, not int"),
        ("--top_k=True", "top_k=True: is of type bool"),
        ("--show_progress=1", "show_progress=1: is of type int"),
        ("--attn_tau=0", "attn_tau=0.0: must be positive"),
        ("--n_heads=3", "n_heads=3: must divide hidden_size=64"),
        ("--cross_heads=5", "cross_heads=5: must divide"),
        ("--epochs=0", "epochs=0"),
        ("--hidden_dropout_prob=1.0", r"hidden_dropout_prob=1.0: must lie in \[0, 1\)"),
        ("--embedding_dropout_prob=1", r"embedding_dropout_prob=1.0: must lie in \[0, 1\)"),
        ("--embedding_dropout_prob=half", "embedding_dropout_prob='half': is of type str, not float or int"),
        ("--hidden_act=gellu", "must be one of gelu"),
        ("--backbone=SASrec", "backbone='SASrec': unknown backbone. did you mean 'SASRec'"),
        ("--learner=adm", "learner='adm': must be one of adam"),
        ("--metrics=['Recal']", "metrics='recal': unknown metrics. did you mean 'recall'"),
        ("--metrics=['GAUC']", "unknown metric"),
        ("--metrics=Recall,Hitt", "metrics='hitt': unknown metrics. did you mean 'hit'"),
        ("--contrast_weight=0.1", "contrast_weight=0.1: is a parameter of another backbone"),
        ("--topk=[0]", "topk"),
        ("--topk=[10,255]", r"topk=\[10, 255\]: a result file keeps every user's rank, up to 254"),
        ("--valid_metric=MRR@10", "early stopping cannot watch"),
        ("--eval_args={'order':'RO'}", "leave-one-out by time"),
        ("--window_stride=51", "window_stride=51"),
        ("--window_stride=wide", "window_stride='wide'"),
        ("--loss_type=BPR", "by cross entropy"),
        ("--nproc=0", "nproc=0"),
        ("--save_dataset=True", "save_dataset=True: .* would change nothing"),
        ("--shuffle=False", "shuffle=False"),
        ("alpha=0.3", "not of the form --name=value"),
        ("--alpha", "not of the form --name=value"),
        ("--dataset=../etc", "not a folder name"),
        ("--item_inter_num_interval=>=5", "item_inter_num_interval='>=5': is not an interval"),
        ("--user_inter_num_interval=[5,)", "is not an interval"),
        ("--user_inter_num_interval=[9,5]", "is not an interval"),
        ("--user_inter_num_interval=[0,5);5-10", "is not an interval"),
        ("--val_interval=[0,5]", "names no field"),
        ("--rm_dup_inter=frist", "did you mean 'first'"),
        ("--index_factory=Flatt", "index_factory='Flatt': FAISS knows no such index"),
        ("--index_factory=IVF16,PQ7", "FAISS knows no such index of 64 numbers"),
        ("--device=cuda:3", "device='cuda:3': this parameter of RecBole would change nothing"),
        ("--world_size=0", "world_size=0"),
        ("--group_offset=1", "world_size=-1: has no place for nproc=1 processes from number 1 on"),
    ],
)
def test_bad_values_are_one_clear_error(argument, says):
    arguments = [argument]
    dataset = None if argument.startswith("--dataset") else "tiny"
    with pytest.raises(ConfigError, match=says):
        Config("RaSeRec", dataset, arguments=arguments)


def test_a_dropout_of_embeddings_is_a_number_or_nothing():
    def given(*arguments):
        return Config("RaSeRec", "tiny", arguments=list(arguments))["embedding_dropout_prob"]

    assert given() is None and given("--embedding_dropout_prob=None") is None
    assert (type(given("--embedding_dropout_prob=0")), given("--embedding_dropout_prob=0.5")) == (float, 0.5)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"nproc": 2, "world_size": 1}, "world_size=1: has no place for nproc=2 processes from number 0 on"),
        ({"world_size": 2, "regenerate": "DR4SR+"}, "only in one process"),
    ],
)
def test_processes_that_do_not_fit_are_refused(more, says):
    with pytest.raises(ConfigError, match=says):
        Config("RaSeRec", "tiny", config_dict=more)


@pytest.mark.parametrize("value", ["[5,inf)", " (0, 3.5] ; [7,9]", None, "[-inf,2)", [5, 9]])
def test_intervals_of_recbole_are_read(value):
    given = {"user_inter_num_interval": value, "val_interval": {"class": ("a", "b"), "timestamp": "[3,inf)"}}
    read = Config("RaSeRec", "tiny", config_dict=given)["user_inter_num_interval"]
    assert read == ("[5, 9]" if isinstance(value, list) else value)


def test_ml_100k_of_ones_own_is_read(own_folder):
    bundled = Config("RaSeRec", "ml-100k", arguments=["--data_path=mine"])["data_path"]
    assert "dataset_example" in bundled
    Path("mine/ml-100k").mkdir(parents=True)
    Path("mine/ml-100k/ml-100k.inter").write_text("")
    assert Config("RaSeRec", "ml-100k", arguments=["--data_path=mine"])["data_path"] == "mine/ml-100k"
    assert Config("RaSeRec", "ml-100k")["data_path"] == bundled


@pytest.mark.parametrize(("model", "says"), [("RaSeRek", "did you mean 'RaSeRec'"), ("SASRec", "--backbone=SASRec")])
def test_other_models_are_explained(model, says):
    with pytest.raises(ConfigError, match=says):
        Config(model, "tiny")


def test_missing_model_and_dataset_are_asked_for():
    with pytest.raises(ConfigError, match="model: not given"):
        Config(None, "tiny")
    with pytest.raises(ConfigError, match="dataset: not given"):
        Config("RaSeRec")


def test_nothing_is_executed(own_folder):
    with pytest.raises(ConfigError, match="alpha"):
        config('--alpha=__import__("os").mkdir("hacked")')
    Path("evil.yaml").write_text("alpha: !!python/object/apply:os.mkdir ['hacked']\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml"):
        config(files=["evil.yaml"])
    assert not Path("hacked").exists()


def test_the_same_parameter_twice_is_an_error():
    with pytest.raises(ConfigError, match=r"--alpha='0.2': also given as '0.1'"):
        config("--alpha=0.1", "--alpha=0.2")


@pytest.mark.parametrize("content", ["- a\n- b\n", "alpha: [\n", None])
def test_bad_files_are_named(own_folder, content):
    if content is not None:
        Path("bad.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config_files='bad\.yaml'"):
        config(files=["bad.yaml"])


@pytest.mark.parametrize("source", ["words", "values", "yaml"])
def test_files_that_only_the_command_line_reads_are_not_ignored(own_folder, source):
    Path("mine.yaml").write_text("config_files: other.yaml\n")
    given = {"words": {}, "values": {"config_files": "other.yaml"}, "yaml": {"files": ["mine.yaml"]}}[source]
    with pytest.raises(ConfigError, match=r"config_files='other\.yaml': only the command line reads it\. from Python"):
        config(*(["--config_files=other.yaml"] if source == "words" else []), **given)


def test_literals():
    assert literal("[5, 10]") == [5, 10]
    assert literal("true") is True
    assert literal("None") is None
    assert literal("NDCG@10") == "NDCG@10"


def test_plain_is_json():
    import json

    assert json.loads(json.dumps(config().plain()))["alpha"] == 0.5


def test_names_stay_text():
    named = Config(None, None, None, {"model": "RaSeRec", "checkpoint_dir": "2024_01"}, ["--dataset=2024_01_19"])
    assert (named["dataset"], named["checkpoint_dir"]) == ("2024_01_19", "2024_01")
    assert Config("RaSeRec", None, arguments=["--dataset=1.10"])["dataset"] == "1.10"
    assert config("--preset='full'", "--backbone='DuoRec'")["backbone"] == "DuoRec"
    assert config("--regenerate=None", "--preset=full")["regenerate"] is None


def test_a_set_is_written_in_one_order():
    values = {f"item {n}" for n in range(50)}
    assert config(val_interval={"item_id": values}).plain()["val_interval"] == {"item_id": sorted(values)}
