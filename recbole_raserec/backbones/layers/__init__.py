"""Layers that mix the positions of a window."""
