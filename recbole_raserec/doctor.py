"""``recbole-raserec doctor``: what is installed, what will break, and the command that mends it.

It is run when something is missing or broken, so this module imports little but the standard library, and tries the
packages in processes of their own.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recbole_raserec.runtime.room import free_mib

_TIMEOUT = 120  # seconds to import a package; torch takes some ten on a cold disk
_FREE_MIB = {"disk": 500, "memory": 2048}  # a run on Amazon Beauty needs less


# What every run needs: name of the package, what is imported to try it, and what installs it on the old and new stack
PACKAGES = {
    "numpy": ("numpy", "pip install 'numpy<2'", "pip install 'numpy>=2'"),
    "pandas": ("pandas", "pip install 'pandas<3'", "pip install pandas"),
    "torch": ("torch", "pip install 'torch>=2.3'", "pip install 'torch>=2.3'"),
    "faiss-cpu": ("faiss", *2 * ("pip install --force-reinstall --no-deps faiss-cpu",)),
    "recbole": (
        "recbole.config, recbole.data, recbole.trainer",
        "pip install 'recbole>=1.2.1,<1.3'",
        "pip install --no-deps 'recbole>=1.2.1,<1.3'",
    ),
    "ray": ("ray.tune", "pip install 'ray[tune]<=2.6.3'", "pip install 'ray[tune]>=2.43'"),
    "PyYAML": ("yaml", *2 * ("pip install PyYAML",)),
    "tqdm": ("tqdm", *2 * ("pip install tqdm",)),
}
_OPTIONAL = ("matplotlib", "jinja2", "optuna", "setuptools", "scipy", "pyarrow", "scikit-learn")
_PACKAGE_OF = {  # modules of another name
    "yaml": "PyYAML",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "pkg_resources": "'setuptools<81'",  # which ray 2.6 imports
    "distutils": "setuptools",
    "google": "protobuf",
    "dateutil": "python-dateutil",
    "PIL": "pillow",
}


def is_new_stack() -> bool:
    """Whether this environment has, or must have, numpy 2 and a current ray: RecBole's ray has no wheel for 3.12."""
    return sys.version_info >= (3, 12) or _major(_version("numpy")) >= 2


def mend_of(module: str) -> str:
    """The command that installs the package of a module."""
    package = _PACKAGE_OF.get(module, module)
    return PACKAGES[package][1 + is_new_stack()] if package in PACKAGES else f"pip install {package}"


@dataclass
class Report:
    """What was found.

    Attributes
    ----------
    facts : ``{name: value}``, plain types.
    problems : ``[{"what": ..., "mend": ...}]``; a run will fail or be refused until each is mended.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def problem(self, what: str, mend: str) -> None:
        self.problems.append({"what": what, "mend": mend})


def examine() -> Report:
    """Look at everything that a run depends on."""
    report = Report({"python": platform.python_version(), "executable": sys.executable, "system": platform.platform()})
    for check in (_packages, _stack, _threads, _gpu, _space, _writable):
        check(report)
    return report


def _packages(report: Report) -> None:
    found = report.facts["packages"] = {name: _version(name) for name in (*PACKAGES, *_OPTIONAL)}
    report.facts["stack"] = "new" if is_new_stack() else "old"
    for name, (modules, *mends) in PACKAGES.items():
        mend = mends[is_new_stack()]
        if found[name] is None:
            report.problem(f"{name} is not installed", mend)
        elif error := _error_of(f"import {modules}"):
            missing = re.search(
                r"No module named '(\w+)", error
            )  # of RecBole's own needs, where --no-deps left them out
            mend = mend_of(missing[1]) if missing else mend
            report.problem(f"{name} {found[name]} cannot be imported ({error})", mend)


def _stack(report: Report) -> None:
    """Versions that cannot work together."""
    found, new = report.facts["packages"], is_new_stack()
    old_ray = found["ray"] is not None and _of(found["ray"], 2) <= (2, 6)
    if old_ray and _major(found["numpy"]) >= 2:
        mend = "pip install --upgrade 'ray[tune]>=2.43'"
        report.problem(f"ray {found['ray']} needs numpy 1, and numpy {found['numpy']} is installed", mend)
    if _major(found["pandas"]) >= 3 and _major(found["numpy"]) == 1:
        mend = "pip install --upgrade numpy" if new else "pip install 'pandas<3'"
        report.problem(f"pandas {found['pandas']} needs numpy 2, and numpy {found['numpy']} is installed", mend)
    if old_ray and _major(found["setuptools"]) >= 81:
        problem = f"ray {found['ray']} needs pkg_resources, and setuptools {found['setuptools']} has none"
        report.problem(problem, "pip install 'setuptools<81'")


def _threads(report: Report) -> None:
    report.facts["cores"] = os.cpu_count()
    report.facts["threads"] = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(errors="replace").split() if cpuinfo.is_file() else []
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve") if name in flags]
    report.facts["processor"] = {"machine": platform.machine(), "features": " ".join(features)}
    script = "import torch; print(torch.__config__.show().partition('BLAS_INFO=')[2].partition(',')[0])"
    report.facts["blas"] = _output(script)


def _gpu(report: Report) -> None:
    script = "import torch; print(*map(torch.cuda.get_device_name, range(torch.cuda.device_count())), sep=', ')"
    report.facts["gpus"] = _output(script)


def _space(report: Report) -> None:
    free = {"disk": shutil.disk_usage(Path.cwd()).free / 2**20, "memory": free_mib()}
    report.facts["free_mib"] = {name: None if value is None else round(value) for name, value in free.items()}
    for name, least in _FREE_MIB.items():
        value = free[name]
        if value is not None and value < least:
            mend = "free some, or work in another folder" if name == "disk" else "close other programs"
            report.problem(f"{value:.0f} MiB of {name} are free, and a run may need {least}", mend)


def _writable(report: Report) -> None:
    """The working folder, where logs, checkpoints and results go."""
    report.facts["folder"] = str(Path.cwd())
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            pass
    except OSError as error:
        report.problem(f"{Path.cwd()} cannot be written to ({error.strerror})", "cd to a folder of your own")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _of(text: str | None, parts: int) -> tuple[int, ...]:
    """The first numbers of a version; (0, ...) for none."""
    numbers = [int(part) for part in (text or "0").split(".")[:parts] if part.isdigit()]
    return tuple([*numbers, *[0] * parts][:parts])


def _major(text: str | None) -> int:
    return _of(text, 1)[0]


def _run(script: str) -> subprocess.CompletedProcess[str] | None:
    """A Python process that cannot take this one down with it; None where it took too long."""
    try:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None


def _error_of(script: str) -> str | None:
    """The last line of what went wrong with ``script``, or None."""
    done = _run(script)
    if done is None:
        return f"it took more than {_TIMEOUT} s"
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return lines[-1][:200] if done.returncode else None


def _output(script: str) -> str | None:
    done = _run(script)
    return done.stdout.strip() if done is not None and done.returncode == 0 else None


def doctor(as_json: bool = False, show: Callable[[str], None] = print) -> int:
    """Print the report; 0 where there is no problem, else 2."""
    report = examine()
    show(json.dumps(asdict(report), indent=1) if as_json else format_report(report))
    return 2 if report.problems else 0


def format_report(report: Report) -> str:
    """Facts, then each problem with its mend."""
    lines = []
    for name, value in report.facts.items():
        inner = ", ".join(f"{key} {shown or '-'}" for key, shown in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name.replace('_', ' '):12} {'-' if inner in (None, '') else inner}")
    lines += ["", *(f"problem: {each['what']}\n  run: {each['mend']}" for each in report.problems)]
    lines.append(f"{len(report.problems)} problems" if report.problems else "all is well")
    return "\n".join(lines)
