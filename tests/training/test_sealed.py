"""A damaged checkpoint is refused, and training goes on from the one before to the same bits."""

from __future__ import annotations

import io
import logging
import os
import random
import signal
from pathlib import Path

import pytest
import torch

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import before, only_writer
from recbole_raserec.runtime.signals import Terminated, stopping_at_sigterm
from recbole_raserec.training import checkpoints, sealed
from recbole_raserec.training.backbone import pretrain

STATE = {"w": torch.arange(50.0), "deep": {"n": 1}}


def damaged(path: Path, cut: bool = False) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data[: len(data) // 3] if cut else data)


def test_every_byte_is_protected():
    path, rng = Path("x.pth"), random.Random(0)
    checkpoints.save(path, STATE)
    whole = path.read_bytes()
    assert checkpoints.load(path, "cpu")["w"].tolist() == STATE["w"].tolist()
    for at in [*range(0, len(whole), 17), *range(len(whole) - 100, len(whole))]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        for content in (flipped, whole[:at]):
            path.write_bytes(content)
            with pytest.raises(ConfigError):
                checkpoints.load(path, "cpu")


def test_a_file_of_an_earlier_version_loads():
    older = io.BytesIO()
    torch.save({"format": 1, **STATE}, older)
    Path("old.pth").write_bytes(older.getvalue())
    assert checkpoints.load("old.pth", "cpu")["deep"] == {"n": 1}


def test_the_one_before_is_kept(caplog):
    path = Path("x.pth")
    for number in range(3):
        checkpoints.save(path, {"n": number}, keep=True)
    assert checkpoints.load(before(path), "cpu")["n"] == 1
    damaged(path)
    with caplog.at_level(logging.WARNING):
        assert [state["n"] for state in checkpoints.candidates(path, "cpu")] == [1]
    assert "refused" in caplog.text and "x.pth" in caplog.text and "checksum" in caplog.text


@pytest.mark.parametrize("which", ["last", "best", "last and best", "all"])
def test_training_goes_on_from_what_is_whole(which, make_config, tiny):
    from recbole_raserec import RaSeRec

    _, dataset, _ = tiny
    digests = []
    for _ in range(2):
        config = make_config(epochs=3, resume=True, learning_rate=0.01)
        torch.manual_seed(1)
        model = RaSeRec(config, dataset)
        valid = pretrain(config, model, dataset).valid
        digests.append((checkpoints.weights_digest(model.backbone.state_dict()), valid))
        files = sorted(Path("saved").glob("tiny-*-pretrain-*.pth*"))
        for path in files:
            is_last = ".last" in path.name
            is_before = path.name.endswith(".before")
            if which == "all" or (not is_before and ("last" if is_last else "best") in which):
                damaged(path, cut=is_last)
    assert digests[0] == digests[1]


class Interrupted(io.BytesIO):
    """A file of which a write within a tensor brings a signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, data) -> int:
        if len(data) > 1000:
            os.kill(os.getpid(), self.number)
        return super().write(data)


@pytest.fixture
def heeds_ctrl_c():
    """A shell's background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize(("number", "raises"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_while_torch_writes_stays_what_it_is(number, raises):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(raises), stopping_at_sigterm():
        sealed.save({"w": torch.arange(5000.0)}, Interrupted(number))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_what_a_killed_run_left_beside_either_checkpoint_is_removed(make_config, tiny):
    _, dataset, model = tiny
    pretrain(make_config(epochs=2), model, dataset)
    for path in sorted(Path("saved").glob("tiny-*-pretrain-*.pth")):
        for end in (".kept", ".abcd1234"):
            path.with_name(f".{path.name}{end}").write_bytes(path.read_bytes()[:9])
    pretrain(make_config(epochs=2, resume=True), model, dataset)
    left = [path.name for path in Path("saved").iterdir() if path.name.startswith(".")]
    assert all(name.endswith(".lock") for name in left), left


def test_two_runs_do_not_write_one_stage():
    second = only_writer(Path("saved/x.pth"), wait=False)
    with only_writer(Path("saved/x.pth"), wait=False), pytest.raises(ConfigError, match="another run is writing"):
        second.__enter__()
    with only_writer(Path("saved/x.pth"), wait=False):
        pass


def test_a_weight_that_is_not_finite_is_not_saved(make_config, tiny):
    from recbole_raserec.training.backbone import backbone_trainer
    from recbole_raserec.training.course import check_finite

    _, dataset, model = tiny
    stage = backbone_trainer(make_config(), model, dataset)
    with torch.no_grad():
        next(stage.model.parameters()).fill_(float("inf"))
    with pytest.raises(ConfigError, match=r"^learning_rate=0.001: a weight .* in epoch 1 of stage pretrain.*last\.pth"):
        check_finite(1.0, stage.model, stage._place(1), stage.rate, 0.001)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        OSError(5, "I/O"),
        PermissionError(13, ""),
    ],
)
def test_what_cannot_be_read_now_is_not_taken_for_damaged(own_folder, monkeypatch, fault):
    """Its stage would begin again, and overwrite it."""
    path = Path("good.last.pth")
    checkpoints.save(path, {"best_valid_result": None, "finished": False, "epoch": 7})

    def load(path, device):
        raise fault

    monkeypatch.setattr(sealed, "load", load)
    with pytest.raises(ConfigError, match=r"resume='good\.last\.pth': (there is not enough memory|cannot be read)"):
        checkpoints.last_good(path, None, "cpu")


def test_a_full_disk_is_told_of_the_folder_of_checkpoints(own_folder, monkeypatch):
    def save(state, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed, "save", save)
    with pytest.raises(ConfigError, match=r"checkpoint_dir='new\.pth': cannot be written \(No space"):
        checkpoints.save(Path("new.pth"), {})
