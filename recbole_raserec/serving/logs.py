"""The log: a JSON object a line, on the standard error. It names nobody and no history unless that is asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

_LOGGER = logging.getLogger("recbole_raserec.serving")


class JsonLines(logging.Formatter):
    """A record as a JSON object. Of an error it writes the kind and the places, but not the text with its values."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {"time": f"{moment}.{record.msecs:03.0f}Z", "level": record.levelname.lower()}
        entry.update(process=record.process, event=record.getMessage())
        entry.update(getattr(record, "facts", {}))
        if record.exc_info and record.exc_info[0]:
            entry["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            entry["trace"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(entry, default=str)


def start_logging() -> None:
    """Write all records of this process as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def log(event: str, level: int = logging.INFO, **facts: Any) -> None:
    """Write one event with its facts."""
    _LOGGER.log(level, event, extra={"facts": facts})


def log_error(event: str, **facts: Any) -> None:
    """Write the error that is being handled, without its text."""
    _LOGGER.error(event, exc_info=True, extra={"facts": facts})
