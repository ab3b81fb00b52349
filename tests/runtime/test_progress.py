from __future__ import annotations

import logging
import re
import sys

from recbole_raserec.runtime.progress import bar, timed


def test_a_bar_is_drawn_on_a_terminal_only(capsys, monkeypatch):
    assert list(bar("steps", True)([1, 2])) == [1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(bar("steps", True)([1, 2])) == [1, 2]
    assert "steps" in capsys.readouterr().err
    assert list(bar("steps", False)([1, 2])) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_stage_is_one_line_of_the_log(caplog):
    seconds = {"pretrain": 1.0}
    with caplog.at_level(logging.INFO), timed(seconds, "pretrain"):
        pass
    (record,) = caplog.records
    assert re.fullmatch(r"pretrain: \d+\.\d s", record.message)
    assert seconds["pretrain"] >= 1
