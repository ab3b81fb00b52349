"""The readers that benchmarks/fuzz.py feeds. Each takes bytes.

It may raise only DataError, ConfigError, or the Refusal of the service.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def words(data: bytes) -> None:
    from recbole_raserec.config.words import parse_arguments
    from recbole_raserec.runtime.literals import literal

    for value in parse_arguments(data.decode("utf-8", "replace").split("\n")).values():
        literal(value)


def body_of(data: bytes) -> None:
    from recbole_raserec.serving.bodies import parse
    from recbole_raserec.serving.schemas import bodies, check
    from recbole_raserec.serving.settings import Limits

    value = parse(data)
    for schema in bodies(Limits()).values():
        try:
            check(value, schema)
        except Exception as error:
            if type(error).__name__ != "Refusal":
                raise


def rows(folder: Path, form: str) -> Callable[[bytes], None]:
    from recbole_raserec.data.columns import wanted
    from recbole_raserec.data.formats import DELIMITERS
    from recbole_raserec.data.interactions import Interactions
    from recbole_raserec.data.rows import consume
    from recbole_raserec.data.sources import open_source

    path, columns = folder / f"source.{form}", [wanted(what, None) for what in ("user", "item", "time")]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        table = Interactions()
        consume(open_source(path, form, columns, DELIMITERS, "input", False), table.add, skip=len(data) % 2 == 0)
        table.ordered(0)

    return read


def histories(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.serving import lines

    path = folder / "histories.jsonl"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        known = {"history", "user", "next_item", "owner", "time"}
        lines.read_all(list(lines._objects(str(path), known, {"history"}, False, "")), "user")

    return read


def titles(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.data.titles import read_titles

    def read(data: bytes) -> None:
        (folder / "t.item").write_bytes(data)
        read_titles(folder, "t")

    return read


def settings(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.config.config import Config

    path, config = folder / "settings.yaml", Config.__new__(Config)
    config.yaml_loader = config._build_yaml_loader()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        config._load_config_files([str(path)])

    return read


def search(path: Path) -> Callable[[bytes], None]:
    from recbole_raserec.tuning.space import read_space

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_space(path)

    return read


def result_of(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.reporting.result import read_result

    path = folder / "result.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_result(path).to_json()

    return read


def report(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.reporting.page import write_report

    path, page = folder / "result.json", folder / "report.html"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        page.unlink(missing_ok=True)
        try:
            write_report([path], page)
        except ValueError:
            assert not page.exists(), "a part of a page was written"
            raise

    return read


def ledger(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.tuning.ledger import Ledger

    place = folder / "ended"
    place.mkdir(exist_ok=True)

    def read(data: bytes) -> None:
        (place / "0.json").write_bytes(data)
        ledger = Ledger(place, resume=True, base="")
        ledger.read()
        ledger.trials()

    return read


def checkpoint(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.training.model_file import load_model

    path = folder / "model.pth"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        load_model(path)

    return read


def converted(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.data.convert import convert

    source = folder / "in.csv"

    def read(data: bytes) -> None:
        source.write_bytes(data)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            try:
                convert(source, "csv", "d", place, show_progress=False, on_bad_line="skip")
            except ValueError:
                assert os.listdir(place) == [], "a part of a data set was written"
                raise

    return read


def atomic_of(folder: Path) -> Callable[[bytes], None]:
    from recbole_raserec.config.config import Config
    from recbole_raserec.data.dataset import SequenceDataset
    from recbole_raserec.runtime.recbole_faults import quieten

    quieten()
    place = folder / "dataset" / "fuzzed"
    place.mkdir(parents=True, exist_ok=True)
    config = Config("RaSeRec", "fuzzed", config_dict={"data_path": str(folder / "dataset"), "show_progress": False})

    def read(data: bytes) -> None:
        (place / "fuzzed.inter").write_bytes(data)
        SequenceDataset(config).build()

    return read
