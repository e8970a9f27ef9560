"""Doors: each view parses, asks access for the object, calls one service or selector, and answers with a page."""
