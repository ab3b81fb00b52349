"""The result of a run, from the ranks of its test users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.evaluation.groups import group_metrics
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.evaluation.significance import Resampling, improvements, pack_ranks
from recbole_raserec.reporting.result import MEMORIES, VERSION, DataPart, DriftPart, MemoryPart, RaSeRecPart, Result
from recbole_raserec.runtime.machine import machine, peak_rss_mib, versions


def build_result(
    *,
    dataset: SequenceDataset,
    model: str,
    backbone: str,
    headline: str,
    ranks: Mapping[str, Ranks],
    valid: Mapping[str, dict[str, float]],
    metrics: Metrics,
    resampling: Resampling,
    seconds: Mapping[str, float],
    curves: dict[str, list[float]],
    losses: dict[str, list[float]],
    config: dict[str, Any],
    device: str,
    seed: int,
    mixture: dict[str, Any] | None = None,
    portrait: dict[str, Any] | None = None,
    drift: Mapping[float, tuple[int, Ranks]] | None = None,
    regeneration: dict[str, Any] | None = None,
) -> Result:
    """The result of a run that ends now, on this machine.

    Parameters
    ----------
    model, backbone : names of the two.
    headline : which of ``MEMORIES`` the headline figures are of.
    ranks : of the test users, by ``backbone`` and with each of ``MEMORIES``.
    valid : validation metrics of ``backbone`` and ``raserec``.
    seconds, curves, losses : by stage.
    config : every parameter, as JSON types.
    mixture : the chosen mixture and those tried; None where there is none.
    portrait : that of :func:`~recbole_raserec.reporting.portrait.portrait`.
    drift : ``{share: (number of memories, ranks)}`` of memories that hold the older pairs alone.
    regeneration : the manifest of regenerated rows.
    """
    by_memory = {memory: _compared(ranks["backbone"], ranks[memory], metrics, resampling) for memory in MEMORIES}
    raserec: RaSeRecPart = {
        "name": model,
        "memory": headline,
        "valid": valid["raserec"],
        "test": by_memory[headline]["test"],
        "test_by_memory": by_memory,
    }
    if mixture is not None:
        raserec["mixture"] = mixture
    return Result(
        version=VERSION,
        dataset=_data_part(dataset),
        backbone={"name": backbone, "valid": valid["backbone"], "test": both_protocols(ranks["backbone"], metrics)},
        raserec=raserec,
        groups=group_metrics(
            ranks["backbone"],
            ranks[headline],
            dataset.sequences.test_part(),
            dataset.sequences.training_only().items,
            dataset.item_num,
            metrics,
            resampling,
        ),
        improvement=by_memory[headline]["improvement"]["unmasked"],
        improvement_masked=by_memory[headline]["improvement"]["masked"],
        test_users=len(ranks["backbone"].unmasked),
        test_ranks={
            system: {protocol: pack_ranks(ranks[system].of(protocol), metrics.depth) for protocol in PROTOCOLS}
            for system in ("backbone", *MEMORIES)
        },
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        peak_rss_mib=peak_rss_mib(),
        valid_curves=curves,
        train_losses=losses,
        config=config,
        versions=versions(),
        machine=machine(device),
        seed=seed,
        portrait=portrait,
        drift=_drift_parts(ranks["backbone"], drift, metrics, resampling) if drift else None,
        regeneration=regeneration,
    )


def _data_part(dataset: SequenceDataset) -> DataPart:
    sequences = dataset.sequences
    return {
        "name": dataset.dataset_name,
        "sha256": dataset.sha256,
        "users": sequences.original,
        "items": dataset.item_num - 1,
        "interactions": int(sequences.offsets[sequences.original]),
    }


def _compared(base: Ranks, new: Ranks, metrics: Metrics, resampling: Resampling) -> MemoryPart:
    return {"test": both_protocols(new, metrics), "improvement": improvements(base, new, metrics, resampling)}


def _drift_parts(
    base: Ranks, drift: Mapping[float, tuple[int, Ranks]], metrics: Metrics, resampling: Resampling
) -> list[DriftPart]:
    return [
        {"share": share, "memories": memories, **_compared(base, ranks, metrics, resampling)}
        for share, (memories, ranks) in drift.items()
    ]
