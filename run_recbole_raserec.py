"""python run_recbole_raserec.py --model=RaSeRec --dataset=ml-100k [--name=value ...]"""

import sys

from recbole_raserec.cli import script

if __name__ == "__main__":
    words = sys.argv[1:]
    script(["run", *words] if not words or words[0].startswith("--") else words)
