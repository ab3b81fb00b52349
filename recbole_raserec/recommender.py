"""What a trained model is for: recommend, explain, remember. Three lines lead from data to recommendations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_raserec.data.histories import Histories, read_histories
from recbole_raserec.errors import ConfigError
from recbole_raserec.recommending import export, onnx_file, reasons
from recbole_raserec.recommending.answer import View
from recbole_raserec.recommending.catalogue import catalogue
from recbole_raserec.recommending.fit import fit
from recbole_raserec.recommending.memory import Memory, seconds_of
from recbole_raserec.recommending.request import Request, items_of, numbered
from recbole_raserec.recommending.tables import allowed_items, recommendations, similar
from recbole_raserec.retrieval.living import Guard, IndexSettings, LivingMemory
from recbole_raserec.retrieval.snapshot import Snapshot
from recbole_raserec.training.model_file import TrainedModel, load_model


class Recommender:
    """Recommends items to histories, also those of people that training never saw.

    A wrong input is a DataError or ConfigError, and changes nothing. For ``memory`` see :mod:`.recommending.memory`.
    """

    def __init__(self, trained: TrainedModel, living: LivingMemory, moment: float | None = None) -> None:
        self._trained, self._living, self._moment = trained, living, moment
        self._last: View | None = None
        self._then: tuple[Snapshot, Snapshot] | None = None  # the memory now, and what it was at the moment
        self.memory = Memory(living, self.view)

    @classmethod
    def load(
        cls, path: str | Path, store: str | Path | None = None, device: str | None = None,
        index_factory: str = "auto", index_recall: float = 0.0,
        max_per_owner: int = 0, votes_per_owner: float = 0.0, quarantine: float = 0.0, new_item_owners: int = 0,
    ) -> Recommender:  # fmt: skip
        """The recommender of a model file. Nothing else is read, and nothing in the file is executed.

        ``path`` is a file that a run wrote (``model_file`` in its result). ``store`` is the file of the durable memory,
        by default the model's with the suffix .memory; the first change of the memory creates it, and from then on it
        counts. ``device`` is torch's name, by default of a GPU if there is one. ``index_factory`` and ``index_recall``
        are those of properties/model/RaSeRec.yaml. The last four are of :class:`.retrieval.guard.Guard`.
        """
        trained = load_model(path, _device(device))
        place = Path(path).with_suffix(".memory") if store is None else Path(store)
        guard = Guard(max_per_owner, votes_per_owner, quarantine, new_item_owners)
        parts = trained.memory, trained.items, trained.users, place, trained.digest
        return cls(trained, LivingMemory(*parts, IndexSettings(index_factory, recall=index_recall), guard=guard))

    @classmethod
    def fit(
        cls, frame: Any, user: str = "user", item: str = "item", time: str = "timestamp",
        item_table: Any = None, title: str | None = None, **parameters: Any,
    ) -> Recommender:  # fmt: skip
        """Train on a frame of interactions; ``parameters`` are those of ``run``, for example ``preset="best"``.

        ``frame`` and ``item_table`` (with a column ``title``) are pandas or Arrow frames or paths. The model's file is
        written into ``checkpoint_dir``, and the test figures are printed.
        """
        return cls.load(fit(frame, user, item, time, item_table, title, parameters))

    def recommend(
        self,
        histories: Any,
        k: int = 10,
        filter_seen: bool = True,
        items: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        users: Sequence[Any] | None = None,
        explain: bool = False,
        on_unknown: str = "raise",
    ) -> pd.DataFrame:
        """The ``k`` best items of each history.

        Parameters
        ----------
        histories : lists of item tokens, oldest first, or a frame with user, item and perhaps timestamp.
        filter_seen : leave out the items of the history.
        items, exclude : tokens; only these, or all but these, may be recommended.
        users : token of each history's user, whose own memories that are as long or longer are left out.
        explain : add the column ``reason``, a sentence for people.
        on_unknown : "raise", or "warn" or "ignore" to skip unknown items.

        The frame has ``user`` (or the numbers 0, 1, ...), ``item``, ``score``, ``rank`` from 1, and ``cold``. A history
        without a known item is cold: it gets the most frequent items of the training data, and its score is how often.
        Fewer than ``k`` items are given where no more may be recommended.
        """
        given = read_histories(histories, users)
        view = self.view()  # before the tokens become numbers: other processes may have added items and owners
        request = self._request(given, on_unknown)
        allowed = allowed_items(view, items, exclude, on_unknown)
        return recommendations(view, given.users, request, k, allowed, filter_seen, explain)

    def explain(self, history: Any, item: Any, user: Any = None) -> reasons.Explanation:
        """Why ``history`` gets ``item``: the memories behind it, and one sentence for people."""
        given = read_histories([history], None if user is None else [user])
        view = self.view()
        request, number = self._request(given, "raise"), self._known([item], "item")
        return reasons.explain(view.checked(number, "item"), request, int(number[0]))

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """The ``k`` items whose vectors have the highest cosine with each of ``items``: item, similar, score, rank."""
        one = isinstance(items, str) or not isinstance(items, Iterable)
        view, numbers = self.view(), self._known([items] if one else items, "items")
        return similar(view.checked(numbers, "items"), numbers.tolist(), k)

    def embed(self, histories: Any, users: Sequence[Any] | None = None, on_unknown: str = "raise") -> np.ndarray:
        """[B, D] augmented user vectors. Their products with :meth:`item_vectors` are the scores before the mixture.

        Both have one number more, D + 1, where items have a bias: that of the backbone, or a popularity adjustment.
        """
        return export.user_vectors(self.view(), self._request(read_histories(histories, users), on_unknown))

    def item_vectors(self) -> np.ndarray:
        """[V, D] vector of each of :attr:`items`, as wide as those of :meth:`embed`."""
        return export.item_vectors(view := self.view())[view.catalogue.allowed]

    @property
    def items(self) -> list[str]:
        """[V] tokens of the items that may be recommended: those of the training data, and new ones in the memory."""
        return self.view().tokens

    @property
    def retrieves(self) -> bool:
        """Whether memories change scores. If validation chose no retrieval, they only give new items their vectors."""
        return self._trained.model.combination.retrieves

    def title(self, item: Any) -> str:
        """The title of an item; its token where the data has no title."""
        if str(item) not in self._trained.items:
            self.view()  # another process may have added it
        return self._trained.title(int(self._known([item], "item")[0]))

    def export(self, folder: str | Path, form: str = "parquet") -> list[Path]:
        """Write items and memories with their vectors into ``folder`` for a vector store, as "parquet" or "npy"."""
        return export.write(self.view(), Path(folder), form)

    def export_onnx(self, path: str | Path) -> Path:
        """Write the backbone's scores, without memories, as an ONNX file; see :mod:`.recommending.onnx_file`."""
        return onnx_file.write(self._trained.model.backbone, self._trained.items.tokens, Path(path))

    def as_of(self, time: Any) -> Recommender:
        """This recommender with the memories until ``time`` (seconds, or a date) or without one; no forgotten ones."""
        return Recommender(self._trained, self._living, seconds_of(time))

    def view(self) -> View:
        """The model with its memory and catalogue as they are now. Any thread may use it."""
        snapshot = self.memory.refresh()
        if self._moment is not None:
            if self._then is None or self._then[0] is not snapshot:
                self._then = snapshot, snapshot.as_of(self._moment)
            snapshot = self._then[1]
        view = self._last
        if view is None or view.snapshot is not snapshot:
            self._last = view = View(self._trained, snapshot, catalogue(self._trained, snapshot))
        return view

    def _known(self, items: Iterable[Any], field: str) -> np.ndarray:
        return items_of(items, self._trained.items, field, mend="give items that training or the memory knows")

    def _request(self, given: Histories, on_unknown: str) -> Request:
        return numbered(given, self._trained.items, self._trained.users, on_unknown)


def _device(name: str | None) -> torch.device:
    """The device of torch's name ``name``, by default a GPU if there is one. ConfigError if it is not here."""
    try:
        return torch.empty(0, device=name or ("cuda" if torch.cuda.is_available() else "cpu")).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: this torch has no CUDA
        problem = f"cannot be used ({str(error).splitlines()[0]})"
        raise ConfigError("device", name, problem, 'give "cpu", or leave it out') from error
