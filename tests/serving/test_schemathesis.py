"""Requests made up from the OpenAPI page, right and wrong: no 5xx, and no answer that the page does not describe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import TOKEN

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("trained", ["attention"], indirect=True)]
# A right form is not enough for 200: the items must be known. A wrong body may be refused for its size, with 413.
SETTINGS = """
[checks.positive_data_acceptance]
enabled = false
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 415, 422]
"""


@pytest.mark.parametrize("token", ["", TOKEN])
def test_no_made_up_request_breaks_the_service(serve_in_thread, tmp_path, token):
    beside = Path(sys.executable).with_name("schemathesis")
    program = os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis") or str(beside)
    assert Path(program).exists(), "no schemathesis: pip install schemathesis, or name one by SCHEMATHESIS=..."
    service = serve_in_thread(token=token)
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    words = [program, "--config-file=schemathesis.toml", "run", address, "--seed=1", "--max-examples=100", "--no-color"]
    words += ["--header", f"Authorization: Bearer {token}"] if token else []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200, env=environment)
    shown = "\n".join(line[:300] for line in done.stdout.splitlines()[-200:])
    assert done.returncode == 0, shown + done.stderr[-3000:]
    assert "11 operations" in shown or "Tested: 11" in shown, shown
    assert service.ask("GET", "/health/ready")[0] == 200
    page = service.ask("GET", "/metrics")[1]
    assert 'status="200"' in page
    assert 'status="422"' in page
    assert 'status="5' not in page
