"""Checkpoints and the two-stage trainer."""
