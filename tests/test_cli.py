from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_raserec.cli import main


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from recbole_raserec.cli import main; main(['--help']);"
        "assert not {'torch', 'faiss', 'ray', 'recbole', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert "convert" in done.stdout


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "recbole_raserec", "rum"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 2
    assert "did you mean 'run'" in done.stderr


def test_a_run_does_not_import_ray():
    code = "import sys; import recbole_raserec.pipeline; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=os.environ)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rum"], "command='rum': unknown command. did you mean 'run'"),
        (["convert"], "--input: not given"),
        (["convert", "--input=a", "--format=tsv", "--dataset=d"], "--format='tsv'"),
        (["convert", "--input=nowhere", "--format=csv", "--dataset=d"], "there is no such file"),
        (["convert", "--input=a", "--format=csv", "--dataset=d", "--kcore=3"], "did you mean 'k_core'"),
        (["convert", "--input=a", "--format=csv", "--dataset=d", "--k_core=x"], "--k_core='x'"),
        (["run", "--model=RaSeRec", "--dataset=nowhere"], "dataset='nowhere'"),
        (["run", "--model=RaSeRec", "--dataset=ml-100k", "--alpha=2"], "alpha=2"),
        (["run", "--model=RaSeRec", "--dataset=ml-100k", "--top-k=5"], "did you mean 'top_k'"),
        (["run", "--model=RaSeRec", "--dataset=ml-100k", "--topks=5"], "did you mean 'topk'"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(words, says, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_convert_says_what_it_wrote(capsys):
    Path("a.txt").write_text("1 2 3 4 5\n2 3 4 5 6\n3 1\n4 x\n")
    words = ["convert", "--input=a.txt", "--format=sequences", "--dataset=d", "--on_bad_line=skip"]
    assert main([*words, "--show_progress=False"]) == 0
    out = capsys.readouterr().out
    assert "3 users, 6 items, 9 interactions" in out
    assert "skipped 1 bad lines" in out
    assert Path("dataset/d/d.inter").is_file()


def test_convert_reads_named_columns_and_titles(capsys):
    rows = "".join(f"{u};{i};2024-01-19 10:00:0{n}\n" for u in "uv" for n, i in enumerate("abcd"))
    Path("a.csv").write_text(f"customer;product;date\n{rows}u;x\n")
    Path("items.csv").write_text('product,name\na,"An\nitem"\nb\n')
    words = ["convert", "--input=a.csv", "--dataset=d", "--user=customer", "--item=product", "--time=date"]
    words += ["--items=items.csv", "--title=name", "--show_progress=False"]
    assert main(words) == 2
    assert "a.csv line 10: it has 2 fields" in capsys.readouterr().err
    assert main([*words, "--delimiter=;", "--on_bad_line=skip"]) == 0
    out = capsys.readouterr().out
    for told in ("2 users, 4 items", "times were read as dates", "1 items with a title; 3 items have none"):
        assert told in out
    assert "skipped 1 bad lines\n" in out
    assert "skipped 1 bad lines of the table of items" in out
    assert Path("dataset/d/d.item").read_text().splitlines()[1:] == ["a\tAn item", "b\t", "c\t", "d\t"]
    assert main([*words, "--delimiter=\\t"]) == 2
    assert "user='customer'" in capsys.readouterr().err


def test_read_only_folders_are_found_before_any_work(tiny_data, capsys):
    Path("locked").mkdir(mode=0o500)
    words = ["run", "--model=RaSeRec", "--dataset=tiny", f"--data_path={tiny_data}"]
    assert main([*words, "--result_file=locked/r.json"]) == 2
    assert "result_file" in capsys.readouterr().err
    assert main([*words, "--checkpoint_dir=locked/saved"]) == 2
    assert "checkpoint_dir" in capsys.readouterr().err
    words = ["convert", "--input=tiny.txt", "--format=sequences", "--dataset=d"]
    assert main([*words, "--data_path=locked/new"]) == 2
    assert "data_path" in capsys.readouterr().err
    assert not list(Path("locked").iterdir())
