"""What a service is told when it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from recbole_raserec.errors import ConfigError

TOKEN_VARIABLE = "RASEREC_TOKEN"
_SHORTEST_TOKEN = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how long it may take.

    Attributes
    ----------
    max_body : bytes of a body.
    max_batch : histories, memories or items of a request.
    max_history : items of a history.
    max_k : items of an answer.
    max_waiting : histories that wait for an answer at once; more are refused with 503.
    timeout : seconds that a client may take to send its request, or to read some of the answer.
    """

    max_body: int = 2**20
    max_batch: int = 256
    max_history: int = 10_000
    max_k: int = 200
    max_waiting: int = 4096
    timeout: int = 10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"--{name}", value, "not a whole number from 1", f"for example --{name}={10}")


@dataclass(frozen=True)
class Settings:
    """Where the service listens, what it serves, and to whom.

    Attributes
    ----------
    token : bearer token that every request needs, or an empty text.
    batching : answer requests together that wait at the same time.
    log_histories : write the bodies of requests into the log.
    max_adds : memories that may be added a minute; the workers share it. 0 is any number.
    max_per_owner, votes_per_owner, quarantine, new_item_owners : see :class:`~recbole_raserec.retrieval.guard.Guard`.
    """

    model_file: str
    store: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str = field(default="", repr=False)
    batching: bool = True
    log_histories: bool = False
    max_adds: int = 0
    max_per_owner: int = 0
    votes_per_owner: float = 0.0
    quarantine: float = 0.0
    new_item_owners: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError("--workers", self.workers, "not a whole number from 1", "for example --workers=2")
        if self.port > 65535:
            raise ConfigError("--port", self.port, "there is no such port", "give a number up to 65535")

    @property
    def hosts(self) -> frozenset[str]:
        """The names by which a browser may call a service that has no token, or nothing if any name will do.

        A page of another site can make a browser call 127.0.0.1 under that site's name. The name gives it away.
        """
        return frozenset(_LOOPBACK) if self.host in _LOOPBACK and not self.token else frozenset()


def read_token(file: str) -> str:
    """The token in the first line of ``file``; without a file that of the variable RASEREC_TOKEN, or none.

    Raises
    ------
    ConfigError : the file cannot be read, or the token is short or not of printable ASCII letters.
    """
    source = "--token_file" if file else TOKEN_VARIABLE
    try:
        text = Path(file).read_text(encoding="ascii") if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            source, file, f"cannot be read ({error})", "give a file whose first line is the token"
        ) from error
    token = text.strip().partition("\n")[0].strip()
    if not token and not file:
        return ""
    if len(token) < _SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in token):
        problem = f"needs at least {_SHORTEST_TOKEN} letters of ASCII without spaces"
        raise ConfigError(source, file or None, problem, "for example that of: openssl rand -hex 32")
    return token
