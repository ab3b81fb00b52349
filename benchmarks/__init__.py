"""Speed and accuracy measured; see bench.py, accuracy.py, reproduce.py, render.py."""
