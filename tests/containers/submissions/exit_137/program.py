"""Pretend to have been killed for memory."""

raise SystemExit(137)
