"""Operators' window on this app's rows."""

from assay.accounts.admin import open_windows

open_windows("notices")
