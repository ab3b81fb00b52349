"""Figures, ranks and names of checkpoints equal those of commit b0783d2 in every digit (before the package was moved).

Some kernels that cannot be chosen (oneDNN's for GELU) differ from processor to processor, so there are two files.
golden_avx2.json is of a processor without AVX-512, and of commit 94af5c3, whose ``make test`` passed with golden.json
on another one.
``python tests/end_to_end/test_golden.py FOLDER`` writes this processor's file again from the installed package. Do this
only in a separate commit that says why the figures change.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

GOLDEN = [Path(__file__).parent / name for name in ("golden.json", "golden_avx2.json")]
# One thread, and kernels that every x86-64 processor has, because another order of sums gives other floats.
KERNELS = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
}
# The users of ml-100k with 100 to 200 ratings, two epochs of each stage.
SMALL = (
    "--dataset=ml-100k --user_inter_num_interval=[100,201) --MAX_ITEM_LIST_LENGTH=20 --window_stride=20 --epochs=2 "
    "--finetune_epochs=2 --bootstrap_samples=100 --top_k=5 --cross_inner_size=32 --learning_rate=0.01 "
    "--show_progress=False --gpu_id= "
)
# The paper's form, which these figures are of; the defaults are newer.
EXACT = "--safeguard=False --retrieval_strength=1 --popularity_adjustment=0 "
OURS = "--hidden_size=16 --inner_size=32 "
REGENERATED = (
    "--regenerate=DR4SR --memory=pairs,patterns --mixture_weight=[0,0.1] --pattern_min_support=20 "
    "--regenerator_epochs=1 --regenerator_embedding_epochs=1 --regenerator_n_heads=2 --regenerator_inner_size=32 "
    "--decode_max_length=6 --mixture_top_k=20"
)
VARIANTS = {
    "plain": OURS,
    "regenerated": OURS + REGENERATED,
    "duorec": OURS + "--backbone=DuoRec",
    "gru4rec": "--backbone=GRU4Rec --hidden_size=16 --embedding_size=16",
    "bert4rec": "--backbone=BERT4Rec --hidden_size=16 --inner_size=32 --mixture_weight=[0,0.1] --mixture_top_k=20",
    "dr4sr+": OURS
    + "--regenerate=DR4SR+ --regenerate_parts=original,patterns --pattern_min_support=20 --memory=patterns "
    "--personalize_warmup_epochs=0 --drift_shares=[0.5] --portrait=True",
    "average": OURS + "--average_weight=0.7 --score_tau=0.07 --ema_decay=0.99",
}


def run(variant: str, folder: Path) -> dict[str, Any]:
    """The compared results of a run of the command line in ``folder``."""
    mixture = "" if "mixture_weight" in VARIANTS[variant] else "--mixture_weight=0 "  # ml-100k's own is newer
    given = f"{SMALL}{EXACT}{mixture}{VARIANTS[variant]}"
    words = f"run --model=RaSeRec {given} --checkpoint_dir=saved --result_file=result.json"
    program = [sys.executable, "-c", "from recbole_raserec.cli import script; script()", *words.split()]
    done = subprocess.run(program, cwd=folder, env={**os.environ, **KERNELS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    model = torch.load(next((folder / "saved").glob("*-RaSeRec-*.pth")), weights_only=True)
    digest = hashlib.sha256()
    for name, value in sorted(model["state_dict"].items()):
        digest.update(name.encode() + value.numpy().tobytes())
    same = (
        "dataset", "backbone", "raserec", "groups", "test_ranks", "valid_curves", "train_losses", "improvement",
        "improvement_masked",
    )  # fmt: skip
    more = {name: result[name] for name in ("drift", "portrait") if name in result}
    for example in more.get("portrait", {}).get("examples", ()):
        example.pop("reasons")  # there were none before
    if "regeneration" in result:
        more["rows_sha256"] = result["regeneration"]["rows_sha256"]
    checkpoints = sorted(path.name for path in (folder / "saved").glob("*.pth"))
    return {**{name: result[name] for name in same}, **more, "checkpoints": checkpoints, "weights": digest.hexdigest()}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="figures are those of x86-64 kernels")
@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if name == "plain" else pytest.mark.slow) for name in VARIANTS]
)
def test_figures_ranks_and_checkpoints_are_those_of_before(variant, own_folder):
    golden = [json.loads(file.read_text(encoding="utf-8"))[variant] for file in GOLDEN]
    found = json.loads(json.dumps(run(variant, own_folder)))
    changed = [[name for name, value in each.items() if found[name] != value] for each in golden]
    assert [] in changed, dict(zip([file.name for file in GOLDEN], changed))


if __name__ == "__main__":
    made = {}
    for variant in VARIANTS:
        folder = Path(sys.argv[1]) / variant
        folder.mkdir(parents=True)
        made[variant] = run(variant, folder)
    file = GOLDEN["AVX512" not in torch.backends.cpu.get_cpu_capability()]
    file.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
