from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import before, check_files, check_writable, only_writer, replacing, write_text


def test_a_failed_write_leaves_the_old_file_and_no_folder(own_folder):
    Path("kept").write_text("old")
    for target in ("kept", "new/deep/file"):
        with pytest.raises(ConfigError, match=f"output='{target}'.*No space"), replacing(Path(target)) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")
    assert Path("kept").read_text() == "old"
    assert [p.name for p in own_folder.iterdir()] == ["kept"]


def test_a_finished_write_replaces():
    Path("kept").write_text("old")
    with replacing(Path("kept")) as temporary:
        temporary.write_text("new")
    assert Path("kept").read_text() == "new"


def test_a_link_is_followed_and_nothing_but_a_file_is_replaced():
    Path("kept").write_text("old")
    Path("link").symlink_to("kept")
    write_text(Path("link"), "new")
    assert Path("link").is_symlink()
    assert Path("kept").read_text() == "new"
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ConfigError, match="is not a file"):
            write_text(Path(name), "new")
    assert Path("pipe").is_fifo()
    none = {"checkpoint_dir": "saved", "result_file": None, "pretrained": None, "regenerator_pretrained": None}
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError, match=f"result_file='{name}': is not a file"):
            check_files({**none, "result_file": name})
    for name in ("pretrained", "regenerator_pretrained"):
        with pytest.raises(ConfigError, match=f"^{name}='typo.pth': there is no such file"):
            check_files({**none, name: "typo.pth"})


def test_a_folder_that_is_a_file_or_full_is_an_error(own_folder, monkeypatch):
    Path("file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to"):
        check_writable("checkpoint_dir", "file/inside")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 2**20))
    with pytest.raises(ConfigError, match=r"has 1\.0 MiB free, and this needs about 50"):
        check_writable("checkpoint_dir", ".", 50)


@pytest.mark.parametrize("fails", ["link", "replace"])
def test_a_kept_file_leaves_nothing_beside_it_whatever_fails(fails, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("1")
    os.link(path, before(path))  # as a kill leaves it, after the file was kept and before it is replaced
    for text in ("2", "3"):
        with replacing(path, keep=True) as new:
            new.write_text(text)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["x", "x.before"]
    assert (path.read_text(), before(path).read_text()) == ("3", "2")
    system = getattr(os, fails)

    def once(*args):
        monkeypatch.undo()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, once)
    with replacing(path, keep=True) as new:
        new.write_text("4")
    assert getattr(os, fails) is system
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x", "x.before"]
    assert (path.read_text(), before(path).read_text()) == ("4", "3")


def test_two_writers_of_one_file_do_not_disturb_each_other(own_folder):
    path = Path("kept")
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert first.exists(), "a living writer's draft was taken for a dead one's"
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert [each.name for each in own_folder.iterdir()] == ["kept"]


def test_a_second_run_that_may_wait_goes_on_when_the_first_ends(monkeypatch):
    waits, order = threading.Event(), []
    monkeypatch.setattr(
        logging.getLogger(), "warning", lambda text: waits.set() if "waiting for another" in text else 0
    )

    def second():
        with only_writer(Path("saved/x.pth"), wait=True):
            order.append("second")

    other = threading.Thread(target=second)
    with only_writer(Path("saved/x.pth"), wait=False):
        other.start()
        assert waits.wait(60)
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]


def test_a_folder_without_locks_is_told_and_used(monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with only_writer(Path("saved/x.pth"), wait=False):
        write_text(Path("saved/x.pth"), "new")
    assert "has no locks (No locks available)" in caplog.text
    assert Path("saved/x.pth").read_text() == "new"
