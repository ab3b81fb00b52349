"""The recommender behind the service, with the threads that use it, so that the event loop never waits."""

from __future__ import annotations

import asyncio
import gc
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from recbole_raserec.data.histories import read_histories
from recbole_raserec.errors import RaSeRecError
from recbole_raserec.recommender import Recommender
from recbole_raserec.serving.batching import Batcher, Options
from recbole_raserec.serving.logs import log
from recbole_raserec.serving.metrics import Metrics
from recbole_raserec.serving.pace import Pace
from recbole_raserec.serving.problems import Refusal, renamed
from recbole_raserec.serving.settings import Settings
from recbole_raserec.serving.titles import Titles

_T = TypeVar("_T")
_Body = dict[str, Any]
_MOST_TASKS = 256  # that wait for a thread


class Service:
    """Answers checked requests.

    Parameters
    ----------
    settings : the model is loaded from there; RaSeRecError says why it cannot be.
    metrics : where calls and reloads are counted.

    Attributes
    ----------
    examples : tokens of three items.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics, self._tasks = settings, metrics, 0
        self._file, self._recommender = self._load()
        self.examples = self._recommender.items[:3]
        self._titles, self._pace = Titles(self._recommender), Pace(settings.max_adds / settings.workers)
        _spare_the_collector()
        self._batcher = Batcher(
            lambda: self._recommender, settings.batching, settings.limits.max_waiting, metrics.batches.observe
        )
        self._reader, self._writer = (ThreadPoolExecutor(size, name) for size, name in ((2, "read"), (1, "write")))

    @property
    def recommender(self) -> Recommender:
        """The recommender of the moment."""
        return self._recommender

    @property
    def waiting(self) -> int:
        """Histories and other tasks that wait or are being worked on."""
        return self._batcher.waiting + self._tasks

    async def recommend(self, body: _Body) -> list[_Body]:
        """An answer for each history, in the form of the lines of the command ``recommend``."""
        only, without = (None if body.get(name) is None else tuple(body[name]) for name in ("items", "exclude"))
        given = {name: body[name] for name in ("k", "filter_seen", "explain", "on_unknown") if name in body}
        try:
            histories = read_histories(body["histories"], body.get("users"))
            answers = await asyncio.wrap_future(
                self._batcher.submit(histories, Options(**given, items=only, exclude=without))
            )
        except RaSeRecError as error:
            raise renamed(error, "histories[{0}]", can_skip=True) from error
        users = [n if user is None else user for n, user in enumerate(histories.users)]
        if body.get("titles"):
            title = self._recommender.title
            answers = [{**answer, "titles": [title(item) for item in answer["items"]]} for answer in answers]
        return [{"user": user, **answer} for user, answer in zip(users, answers)]

    def explain(self, body: _Body) -> _Body:
        """Why a history gets an item."""
        try:
            found = self._recommender.explain(body["history"], body["item"], body.get("user"))
        except RaSeRecError as error:
            raise renamed(error) from error
        columns = {name: found.memories[name].tolist() for name in found.memories}
        memories = [dict(zip(columns, map(_finite, row))) for row in zip(*columns.values())]
        return {**vars(found), "memories": memories}

    def similar(self, body: _Body) -> list[_Body]:
        """The items with the nearest vectors, for each item."""
        try:
            frame = self._recommender.similar_items(body["items"], body.get("k", 10))
        except RaSeRecError as error:
            raise renamed(error) from error
        answers: list[_Body] = []
        for item, near, score, rank in zip(*(frame[name].tolist() for name in frame)):
            if rank == 1:
                answers.append({"item": item, "items": [], "scores": []})
            answers[-1]["items"].append(near)
            answers[-1]["scores"].append(score)
        return answers

    def remember(self, body: Any) -> list[int]:
        """Add one memory or a list of them, all or none, and return their ids once they are on the disk."""
        memories = body if isinstance(body, list) else [body]
        self._pace.take(len(memories))
        names = "history", "next_item", "owner", "time"
        histories, items, owners, times = ([memory.get(name) for memory in memories] for name in names)
        try:
            return self._recommender.memory.add_many(histories, items, owners, times).tolist()
        except RaSeRecError as error:
            self._pace.give_back(len(memories))
            raise renamed(error, "[{0}].{1}" if isinstance(body, list) else "{1}") from error

    def forget(self, owner: str) -> int:
        """Delete an owner's memories, and return how many there were."""
        return self._recommender.memory.forget(owner=owner)

    def forget_since(self, time: str) -> int:
        """Delete the memories that were added at ``time`` or later, and return how many there were."""
        return self._recommender.memory.forget(added_since=time)

    def search(self, text: str, limit: int) -> list[_Body]:
        """The items with these words in their title."""
        self._recommender.view()  # other workers may have met new ones
        return self._titles.search(text, limit)

    def ready(self) -> _Body:
        """What is served. RaSeRecError says why nothing can be."""
        self._recommender.memory.check()
        self._recommender.view()
        self._metrics.memories.set(len(self._recommender.memory))
        return {"status": "ready", "items": len(self._recommender.items), "memories": len(self._recommender.memory)}

    def reload(self) -> str:
        """Serve the model that the file holds now: "loaded", or "unchanged".

        Raises
        ------
        RaSeRecError : it cannot be loaded, or the store is of another backbone. The old model goes on.
        """
        if _identity(self._settings.model_file) == self._file:
            return "unchanged"
        old = self._recommender
        try:
            self._file, self._recommender = self._load()
        except Exception as error:
            self._metrics.reloads.labels("refused").inc()
            log("reload refused", error=str(error) if isinstance(error, RaSeRecError) else type(error).__name__)
            raise
        self.examples, self._titles = self._recommender.items[:3], Titles(self._recommender)
        self._metrics.reloads.labels("loaded").inc()
        log("reloaded", model_file=self._settings.model_file)
        old.memory.close()  # who still uses it opens the file again
        _spare_the_collector()
        return "loaded"

    async def read(self, function: Callable[..., _T], *of: Any) -> _T:
        """The result of ``function`` in a thread."""
        return await self._run(self._reader, function, *of)

    async def write(self, function: Callable[..., _T], *of: Any) -> _T:
        """As :meth:`read`, one at a time. It runs to its end even if nobody waits for it any more."""
        return await asyncio.shield(self._run(self._writer, function, *of))

    def close(self) -> None:
        """Finish what was begun, and close the store."""
        self._batcher.close()
        self._writer.shutdown()
        self._reader.shutdown()
        self._recommender.memory.close()

    async def _run(self, threads: ThreadPoolExecutor, function: Callable[..., _T], *of: Any) -> _T:
        if self._tasks >= _MOST_TASKS:
            raise Refusal(503, "service", None, f"{self._tasks} others wait", "try again in a second")
        self._tasks += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, function, *of)
        finally:
            self._tasks -= 1

    def _load(self) -> tuple[tuple[int, ...] | None, Recommender]:
        identity = _identity(self._settings.model_file)  # before: a file that is replaced meanwhile is loaded again
        given = self._settings
        recommender = Recommender.load(
            given.model_file,
            given.store or None,
            max_per_owner=given.max_per_owner,
            votes_per_owner=given.votes_per_owner,
            quarantine=given.quarantine,
            new_item_owners=given.new_item_owners,
        )
        recommender.recommend([[recommender.items[0]]], k=1)  # so that the first request finds all made
        return identity, recommender


def _identity(file: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spare_the_collector() -> None:
    """Keep what is loaded out of later garbage collections: a full one takes a tenth of a second."""
    gc.unfreeze()  # so that an older model can go
    gc.collect()
    gc.freeze()
