"""Package metadata; tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "recbole_raserec" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="recbole-raserec",
    version=VERSION,
    description="Retrieval-augmented sequential recommendation (RaSeRec) for RecBole",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    packages=[*find_packages(include=["recbole_raserec", "recbole_raserec.*"]), "recbole_raserec.properties"],
    package_dir={"recbole_raserec.properties": "properties"},
    package_data={"recbole_raserec.properties": ["*.yaml", "*/*.yaml"], "recbole_raserec.reporting": ["*.html"]},
    install_requires=[
        "recbole>=1.2.1,<1.3",
        "torch>=2.1",
        "faiss-cpu>=1.7.4",
        # RecBole 1.2.1 uses names that numpy 2 and pandas 3 removed, and pins a ray that needs pkg_resources.
        "numpy>=1.23,<2",
        "pandas>=1.5,<3",
        "ray[tune]>=2.0,<=2.6.3",
        "setuptools<81",
        "pyarrow>=6,<20",  # ray imports it; later ones refuse numpy 1
        "tqdm>=4.60",
        "PyYAML>=5.4",
    ],
    extras_require={
        "test": ["pytest>=7", "hypothesis>=6", "matplotlib>=3.7", "jinja2>=3", "ruff>=0.6", "mypy>=1.8"],
        "report": ["matplotlib>=3.7", "jinja2>=3"],
        "search": ["optuna>=3"],
        "browser": ["playwright>=1.40"],  # drives a Chromium of the machine in make test-all
    },
    entry_points={"console_scripts": ["recbole-raserec=recbole_raserec.cli:script"]},
)
