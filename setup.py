"""Package metadata; tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "recbole_raserec" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

# Up to Python 3.11: RecBole as it is. It uses names that numpy 2 and pandas 3 removed, and pins a ray that needs
# pkg_resources.
_OLD = [
    "recbole>=1.2.1,<1.3",
    "numpy>=1.23,<2",
    "pandas>=1.5,<3",
    "ray[tune]>=2.0,<=2.6.3",
    "setuptools<81",
    "pyarrow>=6,<20",  # later ones refuse numpy 1
]
# From 3.12 on that ray has no wheel. RecBole is installed by hand (pip install --no-deps recbole), and this is what it
# needs beside torch, tqdm and PyYAML.
_NEW = [
    "numpy>=1.26",
    "pandas>=2.1",
    "ray[tune]>=2.43",
    "pyarrow>=14",
    "scipy>=1.11",
    "scikit-learn>=1.3",
    "tensorboard>=2.14",
    "thop>=0.1.1.post2207130030",
    "tabulate>=0.9",
    "plotly>=5",
    "texttable>=1.6",
    "psutil>=5.9",
    "colorlog==4.7.2",
    "colorama==0.4.4",
    "setuptools",  # thop imports distutils, which Python 3.12 no longer has
]
OLD = [f'{need} ; python_version < "3.12"' for need in _OLD]
NEW = [f'{need} ; python_version >= "3.12"' for need in _NEW]

SERVE = ["starlette>=0.37", "uvicorn>=0.30", "prometheus-client>=0.19"]
REPORT = ["matplotlib>=3.7", "jinja2>=3"]
SEARCH = ["optuna>=3"]
ONNX = ["torch>=2.6", "onnx>=1.17", "onnxscript>=0.4", "onnxruntime>=1.19"]  # Recommender.export_onnx


def long_description() -> str:
    """The README without the links that lead to files of a clone: a package index has neither pages nor pictures."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n\n", "", text, flags=re.M)
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


setup(
    name="recbole-raserec",
    version=VERSION,
    description="Retrieval-augmented sequential recommendation (RaSeRec) for RecBole",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="MIT",
    keywords="recommender-system sequential-recommendation retrieval-augmented recbole pytorch faiss sasrec",
    project_urls={"Paper": "https://arxiv.org/abs/2412.18378", "RecBole": "https://recbole.io"},
    python_requires=">=3.9",
    packages=[*find_packages(include=["recbole_raserec", "recbole_raserec.*"]), "recbole_raserec.properties"],
    package_dir={"recbole_raserec.properties": "properties"},
    package_data={
        "recbole_raserec": ["py.typed"],
        "recbole_raserec.properties": ["*.yaml", "*/*.yaml", "*/*/*.yaml"],
        "recbole_raserec.reporting": ["*.html"],
        "recbole_raserec.serving": ["*.html"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 13)),  # those that were run
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    install_requires=[
        "torch>=2.3",
        "faiss-cpu>=1.7.4",
        "tqdm>=4.60",
        "PyYAML>=5.4",
        *OLD,
        *NEW,
    ],
    extras_require={
        "test": [
            "pytest>=7",
            "pytest-xdist>=3.8",
            "hypothesis>=6",
            *REPORT,
            "jsonschema>=4",
            *SERVE,
            "ruff>=0.6",
            "mypy>=1.8",
        ],
        "serve": SERVE,
        "report": REPORT,
        "search": SEARCH,
        "onnx": ONNX,
        "all": [*SERVE, *REPORT, *SEARCH, *ONNX],
        "docs": ["mkdocs-material>=9.5,<10"],
        "fuzz": ["atheris>=2.3"],  # benchmarks/fuzz.py follows the coverage with it
        "browser": ["playwright>=1.40"],  # drives a Chromium of the machine in make test-all
    },
    entry_points={"console_scripts": ["recbole-raserec=recbole_raserec.cli:script"]},
)
