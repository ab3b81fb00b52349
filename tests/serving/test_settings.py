"""Where the service finds its token."""

from __future__ import annotations

from recbole_raserec.serving.settings import read_token
from tests.serving.conftest import TOKEN


def test_the_token_of_a_file_comes_before_that_of_the_variable(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\nmore\n")
    monkeypatch.delenv("RASEREC_TOKEN", raising=False)
    assert read_token("") == ""
    monkeypatch.setenv("RASEREC_TOKEN", "another-token-of-the-same-length")
    assert read_token("") == "another-token-of-the-same-length"
    assert read_token(str(file)) == TOKEN
