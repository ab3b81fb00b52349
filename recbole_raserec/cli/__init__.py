"""The command line: ``recbole-raserec COMMAND --name=value ...``. All arguments have RecBole's form."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from recbole_raserec.cli.options import (
    CONVERT_OPTIONS,
    GUARD_OPTIONS,
    LIMIT_OPTIONS,
    RECOMMEND_OPTIONS,
    SERVE_OPTIONS,
    SERVING_OPTIONS,
    TUNE_OPTIONS,
    read_options,
    resources,
)
from recbole_raserec.config.words import parse_arguments
from recbole_raserec.doctor import doctor, mend_of
from recbole_raserec.errors import ConfigError, RaSeRecError
from recbole_raserec.runtime.signals import Terminated, stopping_at_sigterm
from recbole_raserec.runtime.waiting import spin_briefly

if TYPE_CHECKING:
    from recbole_raserec.recommender import Recommender

HELP = """recbole-raserec COMMAND --name=value ...

  run       pre-train a backbone, build its memory, fine-tune RaSeRec, print and write the result
            --model=RaSeRec --dataset=NAME [--backbone=SASRec] [--data_path=dataset] [--result_file=FILE]
            [--config_files="a.yaml b.yaml"] [--pretrained=FILE] [--resume=True]
            and any parameter of RecBole or of properties/
  convert   write RecBole's atomic files
            --input=FILE --dataset=NAME [--data_path=dataset]
            [--format=auto|sequences|csv|json|parquet|amazon-csv|amazon-json]
            [--user=COLUMN] [--item=COLUMN] [--time=COLUMN] [--delimiter=";"] [--items=FILE] [--title=COLUMN]
            [--k_core=0] [--on_bad_line=error|skip] [--show_progress=True]
  regenerate  write a data set whose training part is regenerated (DR4SR), for any RecBole model
            --dataset=NAME --output=NAME [--data_path=dataset] [--regenerate_parts=original,patterns,decoded]
            and any parameter of properties/model/DR4SR.yaml
  recommend  the best items of each history of JSON lines {"history": ["50", "172"], "user": ...}
            --model_file=FILE --input=FILE|- [--output=FILE|-] [--k=10] [--explain=True] [--filter_seen=True]
            [--on_unknown=raise|warn|ignore] [--store=FILE] [--show_progress=True]
  remember  add memories, durably, from JSON lines {"history": [...], "next_item": ..., "owner": ..., "time": ...}
            --model_file=FILE --input=FILE|- [--on_unknown=raise|warn|ignore] [--store=FILE]
  forget    delete memories, from JSON lines {"owner": ...}, {"item": ...} or {"added_since": "2024-01-19 10:00:00"}
            --model_file=FILE --input=FILE|- [--store=FILE]
  serve     recommend, explain, remember and forget over HTTP; a page for people (pip install recbole-raserec[serve])
            --model_file=FILE [--store=FILE] [--host=127.0.0.1] [--port=8000] [--workers=1] [--token_file=FILE]
            [--log_histories=True] [--max_body=BYTES] [--max_batch=256] [--max_history=10000] [--max_k=200]
            [--max_waiting=4096] [--timeout=10] [--max_adds=A_MINUTE] [--batching=True] (docs/serving.md)
            recommend, remember and forget: [--index_factory=auto] [--index_recall=0] (docs/memory.md)
            recommend, remember and serve: [--max_per_owner=N] [--votes_per_owner=N]
            [--quarantine=SECONDS] [--new_item_owners=N] (docs/memory.md)
  tune      search hyper-parameters on Ray Tune, by validation scores
            --model=RaSeRec --dataset=NAME --params_file=FILE [--num_samples=10] [--search=random|grid|optuna]
            [--scheduler=fifo|asha] [--resources_per_trial=cpu=2,gpu=1] [--ray_address=local|auto|...]
            [--output=tune] [--resume=True] and any parameter of run
  report    one HTML page of pictures from result files (pip install recbole-raserec[report])
            FILE.json ... [--output=report.html]
  doctor    what is installed, what will break, and the command that mends it
            [--json]

Exit codes: 0 done, 2 wrong input (one line on stderr says what is wrong and how to correct it), 130 interrupted,
143 ended by SIGTERM (run and tune go on with --resume=True)."""

_STOPPED = ("run", "tune", "regenerate", "convert")  # serve has its own answer to a signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help", "help"} or "--help" in words:
        print(HELP)
        return 0
    try:
        with stopping_at_sigterm(words[0] in _STOPPED):
            return _command(words[0])(words[1:]) or 0
    except ImportError as error:
        print(f"error: {_missing(error)}", file=sys.stderr)
        return 2
    except (RaSeRecError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        mend = "; add --resume=True to the same command to go on" if words[0] in {"run", "tune"} else ""
        print(f"interrupted{mend}", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130


def _missing(error: ImportError) -> str:
    """A package is missing or broken; RecBole is not installed with this one from Python 3.12 on."""
    module = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and module and module != "recbole_raserec":
        return f"{module} is not installed. run: {mend_of(module)}"
    return f"a package cannot be imported ({error}). run: recbole-raserec doctor"


def _command(name: str) -> Callable[[list[str]], int | None]:
    commands: dict[str, Callable[[list[str]], int | None]] = {
        "run": _run,
        "convert": _convert,
        "regenerate": _regenerate,
        "recommend": _recommend,
        "remember": _remember,
        "forget": _forget,
        "serve": _serve,
        "tune": _tune,
        "report": _report,
        "doctor": _doctor,
    }
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        mend = f"did you mean {near[0]!r}" if near else f"use one of {', '.join(commands)}"
        raise ConfigError("command", name, "unknown command", mend)
    return commands[name]


def _doctor(words: list[str]) -> int:
    if words not in ([], ["--json"], ["--json=True"]):
        raise ConfigError(
            "doctor", " ".join(words), "takes no other option than --json", "recbole-raserec doctor --json"
        )
    return doctor(as_json=bool(words))


def _run(words: list[str]) -> None:
    files, arguments = _without_files(words)
    from recbole_raserec.pipeline import run

    run(None, config_file_list=files, arguments=arguments)


def _regenerate(words: list[str]) -> None:
    files, arguments = _without_files(words)
    output = parse_arguments(words).get("output")
    if output is None:
        raise ConfigError("--output", None, "not given", "name the data set to write, for example --output=NAME-dr")
    from recbole_raserec.regeneration.command import regenerate

    others = [word for word in arguments if not word.startswith("--output=")]
    regenerate(output, config_file_list=files, arguments=others)


def _tune(words: list[str]) -> None:
    files, arguments = _without_files(words)
    own = [word for word in arguments if word[2:].partition("=")[0] in TUNE_OPTIONS]
    options = read_options(own, TUNE_OPTIONS)
    options["resources_per_trial"] = resources(options["resources_per_trial"])
    from recbole_raserec.tuning.search import tune

    tune(config_file_list=files, arguments=[word for word in arguments if word not in own], **options)


def _without_files(words: list[str]) -> tuple[list[str], list[str]]:
    """The yaml files that ``--config_files`` names, and the other arguments."""
    files = parse_arguments(words).get("config_files", "").split()
    return files, [word for word in words if not word.startswith("--config_files=")]


def _loaded(options: dict[str, Any]) -> Recommender:
    """The recommender that ``options`` name. They are taken out of it."""
    from recbole_raserec.recommender import Recommender

    more = {name: options.pop(name) for name in ("index_factory", "index_recall", *GUARD_OPTIONS) if name in options}
    return Recommender.load(options.pop("model_file"), options.pop("store") or None, **more)


def _recommend(words: list[str]) -> None:
    options = read_options(words, {**SERVING_OPTIONS, **GUARD_OPTIONS, **RECOMMEND_OPTIONS})
    from recbole_raserec.serving.lines import recommend_lines

    recommend_lines(_loaded(options), options.pop("input"), options.pop("output"), **options)


def _remember(words: list[str]) -> None:
    options = read_options(words, {**SERVING_OPTIONS, **GUARD_OPTIONS, "on_unknown": RECOMMEND_OPTIONS["on_unknown"]})
    from recbole_raserec.serving.lines import remember_lines

    recommender = _loaded(options)
    print(f"remembered {remember_lines(recommender, options.pop('input'), **options):,}")
    if not recommender.retrieves:
        print("this model's validation chose no retrieval: the memory only makes new items known (docs/safeguard.md)")


def _forget(words: list[str]) -> None:
    options = read_options(words, SERVING_OPTIONS)
    from recbole_raserec.serving.lines import forget_lines

    print(f"forgot {forget_lines(_loaded(options), options.pop('input'), **options):,} memories")


def _serve(words: list[str]) -> None:
    options = read_options(words, {**SERVE_OPTIONS, **GUARD_OPTIONS, **LIMIT_OPTIONS})
    from recbole_raserec.serving.settings import Limits, Settings, read_token

    limits = Limits(**{name: options.pop(name) for name in LIMIT_OPTIONS})
    settings = Settings(token=read_token(options.pop("token_file")), limits=limits, **options)
    for package in ("prometheus_client", "starlette", "uvicorn"):
        if find_spec(package) is None:
            mend = "pip install 'recbole-raserec[serve]'"
            raise ConfigError("serve", None, f"{package} is not installed", mend)
    from recbole_raserec.serving.workers import serve

    serve(settings)


def _report(words: list[str]) -> None:
    files = [word for word in words if not word.startswith("--")]
    options = read_options([word for word in words if word.startswith("--")], {"output": ("report.html", None)})
    if not files:
        raise ConfigError("report", None, "no result file given", "for example recbole-raserec report result.json")
    try:
        from recbole_raserec.reporting.page import write_report
    except ModuleNotFoundError as error:
        mend = "pip install 'recbole-raserec[report]'"
        raise ConfigError("report", None, f"{error.name} is not installed", mend) from error
    print(f"wrote {write_report(files, options['output'])}")


def _convert(words: list[str]) -> None:
    options = read_options(words, CONVERT_OPTIONS)
    from recbole_raserec.data.convert import convert

    done = convert(
        source=options["input"],
        data_format=options["format"],
        dataset=options["dataset"],
        data_path=options["data_path"],
        k_core=options["k_core"],
        on_bad_line=options["on_bad_line"],
        show_progress=options["show_progress"],
        **{name: options[name] or None for name in ("user", "item", "time", "delimiter", "items", "title")},
    )
    print(*done.summary(), sep="\n")


def script(argv: Sequence[str] | None = None) -> None:
    """Entry point of a process that is nothing but the command line."""
    spin_briefly()
    sys.exit(main(argv))
