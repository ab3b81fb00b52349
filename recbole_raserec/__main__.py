"""``python -m recbole_raserec COMMAND --name=value ...`` is the command line."""

from recbole_raserec.cli import script

if __name__ == "__main__":
    script()
