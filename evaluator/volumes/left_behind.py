"""What systems, editors and network storages leave in folders and archives: never a case, a prediction or a table."""

from pathlib import PurePath

_NAMES = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini"})


def is_left_behind(path: PurePath | str) -> bool:
    """Whether a part of a relative path is hidden (`.ipynb_checkpoints`, `._c1.nii.gz`), or nobody's file (`__MACOSX`)."""
    parts = PurePath(path).parts
    return any((part.startswith(".") and part != "..") or part.lower() in _NAMES for part in parts)
