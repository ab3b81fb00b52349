"""The result of a run, from the ranks of its test users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.evaluation.groups import group_metrics
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.evaluation.significance import Resampling, improvements, pack_ranks
from recbole_raserec.reporting.result import (
    VERSION,
    DataPart,
    DriftPart,
    MemoryPart,
    OptionalRaSeRecPart,
    RaSeRecPart,
    Result,
)
from recbole_raserec.retrieval.combination import Combination
from recbole_raserec.runtime.machine import machine, peak_rss_mib, versions
from recbole_raserec.training.backbone import Pretrained
from recbole_raserec.training.choose import Choice
from recbole_raserec.training.finetune import Finetuned
from recbole_raserec.training.rank import Ranked


def build_result(
    config: Config,
    dataset: SequenceDataset,
    pretrained: Pretrained,
    finetuned: Finetuned,
    ranked: Ranked,
    drift: Mapping[float, tuple[int, Ranks]],
    portrait: dict[str, Any] | None,
    regeneration: dict[str, Any] | None,
    seconds: Mapping[str, float],
    model_file: Path,
) -> Result:
    """The result of a run, from the results of its stages. It is built on the machine of the run, when the run ends.

    Parameters
    ----------
    drift : result of :func:`~recbole_raserec.training.rank.rank_drift`.
    portrait : result of :func:`~recbole_raserec.reporting.portrait.portrait`.
    regeneration : the manifest of the generated rows.
    seconds : seconds of each stage in this process. If the run was resumed, those of earlier processes are added.
    """
    metrics, resampling = Metrics.of(config), Resampling.of(config)
    ranks, headline = ranked.ranks, ranked.headline
    courses = {"pretrain": pretrained.course, "finetune": finetuned.course}
    trained = {stage: course for stage, course in courses.items() if course is not None}
    by_memory = {
        memory: _compared(ranks["backbone"], found, metrics, resampling)
        for memory, found in ranks.items()
        if memory != "backbone"
    }
    raserec: RaSeRecPart = {
        "name": config["model"],
        "memory": headline,
        "valid": finetuned.valid,
        "test": by_memory[headline]["test"],
        "test_by_memory": by_memory,
    }
    if finetuned.choice is not None:
        raserec.update(_choice_part(finetuned.choice))
    test = both_protocols(ranks["backbone"], metrics)
    return Result(
        version=VERSION,
        dataset=_data_part(dataset),
        backbone={"name": config["backbone"], "valid": pretrained.valid, "test": test},
        raserec=raserec,
        groups=group_metrics(
            ranks["backbone"],
            ranks[headline],
            dataset.sequences.test_part(),
            dataset.sequences.training_counts(dataset.item_num),
            metrics,
            resampling,
        ),
        improvement=by_memory[headline]["improvement"]["unmasked"],
        improvement_masked=by_memory[headline]["improvement"]["masked"],
        test_users=len(ranks["backbone"].unmasked),
        test_ranks={
            system: {protocol: pack_ranks(ranks[system].of(protocol), metrics.depth) for protocol in PROTOCOLS}
            for system in ("backbone", *by_memory)
        },
        seconds={
            stage: round(value + (trained[stage].earlier if stage in trained else 0.0), 2)
            for stage, value in seconds.items()
        },
        peak_rss_mib=peak_rss_mib(),
        valid_curves={stage: course.curve for stage, course in trained.items()},
        train_losses={stage: course.losses for stage, course in trained.items()},
        config=config.plain(),
        versions=versions(),
        machine=machine(str(config["device"])),
        seed=config["seed"],
        portrait=portrait,
        drift=_drift_parts(ranks["backbone"], drift, metrics, resampling) if drift else None,
        regeneration=regeneration,
        model_file=str(model_file),
        index=ranked.memory.index_facts(),
    )


def _choice_part(choice: Choice) -> OptionalRaSeRecPart:
    """The chosen mixture, and what else was chosen if that is not the paper's form."""
    combination = choice.combination
    part: OptionalRaSeRecPart = {"mixture": {**combination.mixture.plain(), "tried": choice.tried}}
    if choice.note or combination != Combination(combination.mixture):
        part["choice"] = {
            "retrieval": combination.retrieves,
            "strength": combination.strength,
            "popularity_adjustment": combination.adjustment,
            "note": choice.note,
        }
    return part


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
