"""Layers: how the positions of a window are mixed."""
