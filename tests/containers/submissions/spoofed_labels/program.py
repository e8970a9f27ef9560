"""Carry labels that other programs on the host act upon. What is looked at is the container, from outside."""

from pathlib import Path

Path("/output/result.txt").write_text("held")
