"""Counters for Prometheus. The workers of one service add theirs up in files."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name; set before it is imported
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """What the service counts. The names and the meaning are in docs/serving.md."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter("raserec_requests", "Answered requests", ["endpoint", "status"], registry=own)
        self.seconds = Histogram(
            "raserec_request_seconds", "Time to answer", ["endpoint"], registry=own, buckets=_SECONDS
        )
        self.batches = Histogram("raserec_batch_histories", "Histories of a call", registry=own, buckets=_SIZES)
        self.reloads = Counter("raserec_reloads", "Reloads of the model", ["outcome"], registry=own)
        self.waiting = Gauge("raserec_waiting", "What waits", registry=own, multiprocess_mode="livesum")
        self.memories = Gauge("raserec_memories", "Memories", registry=own, multiprocess_mode="livemax")
        if FOLDER_VARIABLE not in os.environ:
            ProcessCollector(registry=own)

    def page(self) -> bytes:
        """All of them in Prometheus's text format."""
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)
