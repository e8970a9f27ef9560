"""The ranking document: its records, how it is read, its presets, and the same in plain words."""
