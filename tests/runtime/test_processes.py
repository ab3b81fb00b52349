from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec import ConfigError, RaSeRec, SequenceDataset, run
from recbole_raserec.config.config import Config
from recbole_raserec.data.batches import _share_of
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.recbole_faults import init_logger


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 5))
def test_a_batch_is_shared_out_whole_and_evenly(pairs, processes):
    rows, pairs = np.arange(100, 100 + len(pairs)), np.array(pairs)
    shares = [_share_of(rows, pairs, number, processes) for number in range(processes)]
    assert sorted(np.concatenate(shares).tolist()) == rows.tolist()
    loads = [int(pairs[share - 100].sum()) for share in shares]
    assert max(loads) - min(loads) <= pairs.max()


def test_runs_begun_at_once_do_not_race_for_the_log_folder(tiny_data, tmp_path, monkeypatch):
    def looks_then_makes(folder):  # RecBole's; between the two another run may make it
        assert Path(folder).is_dir()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole.utils.logger.ensure_dir", looks_then_makes)
    init_logger(Config("RaSeRec", "tiny", config_dict=parameters(tiny_data)))


PACKED = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "hidden_size": 16}  # with dropout, the shares' differ


def a_free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def parameters(tiny_data, **more):
    fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 2, "top_k": 3}
    fixed |= {"safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0}  # so memories have a part
    return {**fixed, "gpu_id": "", "train_batch_size": 64, "cross_dropout_prob": 0.0, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"backbone": "SASRec", **PACKED},
        pytest.param({"backbone": "DuoRec", "contrast_weight": 0.0, **PACKED}, marks=pytest.mark.slow),
        pytest.param(
            {"backbone": "GRU4Rec", "embedding_size": 16, "hidden_size": 16, "dropout_prob": 0.0},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_processes_give_what_one_gives(more, tiny_data):
    one = run("RaSeRec", "tiny", config_dict=parameters(tiny_data, checkpoint_dir="one", **more))
    two = run("RaSeRec", "tiny", config_dict=parameters(tiny_data, checkpoint_dir="two", nproc=2, **more))
    for stage, losses in one["train_losses"].items():
        assert two["train_losses"][stage] == pytest.approx(losses, rel=1e-5)
        assert two["valid_curves"][stage] == pytest.approx(one["valid_curves"][stage], abs=1e-5)
    for protocol, metrics in one["raserec"]["test"].items():
        assert two["raserec"]["test"][protocol] == pytest.approx(metrics, abs=1e-5)
    assert two["test_users"] == one["test_users"]


def gradient_of_one_process(_):
    """The sum of sparse gradients, of which only the first process has one."""
    table = torch.nn.Embedding(4, 2, sparse=True)
    torch.nn.init.ones_(table.weight)
    if processes.rank() == 0:
        (table(torch.tensor([1, 3, 3])) * 2).sum().backward()
    processes.sum_gradients(table.parameters(), [table.weight])
    return table.weight.grad.to_dense().numpy()


SUM = [[0, 0], [2, 2], [0, 0], [4, 4]]


def gradients_of(places):
    """The gradient that the processes of each place return; the places run at once, as runs and machines do."""
    with ThreadPoolExecutor(len(places)) as pool:
        work = [pool.submit(processes.run_together, gradient_of_one_process, (None,), p, ConfigError) for p in places]
        return [None if one.result() is None else one.result().tolist() for one in work]


@pytest.mark.slow
def test_a_process_without_a_sparse_gradient_adds_none():
    places = [processes.place(1, 2, number, "localhost", port) for port in [a_free_port()] for number in (0, 1)]
    assert gradients_of(places) == [SUM, None]


@pytest.mark.slow
def test_two_runs_on_one_machine_do_not_meet_although_they_have_one_port():
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        place = processes.place(2, -1, 0, "localhost", other.getsockname()[1])
        processes.check_port(place)
        assert gradients_of([place, place]) == [SUM, SUM]


def on_two_machines(words, folders):
    """The exit codes and errors of two commands, each with its folder of data."""
    words += f" --model=RaSeRec --dataset=tiny --world_size=2 --gpu_id= --port={a_free_port()} --show_progress=False"
    words += " --epochs=2 --finetune_epochs=2 --hidden_size=16 --inner_size=32"
    command = [sys.executable, "-c", "from recbole_raserec.cli import script; script()", "run", *words.split()]
    both = [
        subprocess.Popen(
            [*command, f"--group_offset={number}", f"--data_path={folder}"], stderr=subprocess.PIPE, text=True
        )
        for number, folder in enumerate(folders)
    ]
    try:
        errors = [machine.communicate(timeout=200)[1] for machine in both]
    finally:
        for machine in both:
            machine.kill()
    return [machine.returncode for machine in both], errors


@pytest.mark.slow
def test_two_machines_that_share_their_checkpoints_regenerate_together(tiny_data):
    codes, errors = on_two_machines("--regenerate=DR4SR --regenerator_epochs=20", [tiny_data, tiny_data])
    assert codes == [0, 0], errors
    assert len(list(Path("saved").glob("tiny-DR4SR-??????????.pth"))) == 1


@pytest.mark.slow
def test_two_machines_with_other_data_are_refused(tiny_data, tmp_path):
    shutil.copytree(tiny_data / "tiny", tmp_path / "other" / "tiny")
    file = tmp_path / "other" / "tiny" / "tiny.inter"
    file.write_text(file.read_text().rsplit("\n", 2)[0] + "\n")  # one interaction less
    codes, errors = on_two_machines("", [tiny_data, tmp_path / "other"])
    assert codes == [2, 2], errors
    assert all("its files, or its generated rows, differ" in error for error in errors)


@pytest.mark.slow
def test_with_a_sampled_softmax_a_batch_may_have_fewer_windows_than_processes(tiny_data):
    settings = parameters(tiny_data, nproc=2, softmax_negatives=8, train_batch_size=8, **PACKED)
    losses = run("RaSeRec", "tiny", config_dict=settings)["train_losses"]["pretrain"]
    assert losses[-1] < losses[0]


def scores_of_own_rows(settings):
    """RecBole's own run in several processes: each process scores different rows."""
    config = Config("RaSeRec", "tiny", config_dict=settings)
    dataset = SequenceDataset(config)
    train, _, test = dataset.build()
    torch.manual_seed(0)
    model = RaSeRec(config, dataset).eval()
    keys = np.random.default_rng(0).normal(size=(len(train), model.item_vectors.shape[1])).astype(np.float32)
    model.remember(MemoryBank(keys, train.prefixes.targets, train.prefixes.users, train.prefixes.lengths))
    rows = [1, 2, 3] if processes.rank() == 0 else [7, 8, 9, 10, 11]
    with torch.no_grad():
        own = model.full_sort_predict(test[rows]).numpy()
    return processes.gather(own)


@pytest.mark.slow
def test_under_recboles_own_processes_each_ranks_rows_stay_its_own(tiny_data, monkeypatch):
    settings = parameters(tiny_data)
    place = processes.place(2, -1, 0, "localhost", a_free_port())
    together = processes.run_together(scores_of_own_rows, (settings,), place, ConfigError)
    first = scores_of_own_rows(settings)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    np.testing.assert_array_equal(together, np.concatenate([first, scores_of_own_rows(settings)]))


@pytest.mark.slow
def test_an_error_in_the_processes_is_the_users_error(tiny_data):
    with pytest.raises(ConfigError, match="make it smaller"):
        run("RaSeRec", "tiny", config_dict=parameters(tiny_data, nproc=2, learning_rate=1e30, **PACKED))


@pytest.mark.parametrize("port", ["taken", "90000", "http"])
def test_a_port_where_nobody_can_listen_is_a_clear_error(port):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        if port == "taken":
            port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port='?{port}'?: the processes cannot meet there.*--port=5679"):
            processes.check_port(processes.place(2, 4, 0, "localhost", port))
        processes.check_port(processes.place(2, 4, 2, "localhost", port))  # the first process is on another machine


def test_a_free_port_is_free():
    processes.check_port(processes.place(2, 4, 0, "localhost", a_free_port()))
