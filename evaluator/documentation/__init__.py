"""The tables of our READMEs that are written from code, documents and tests."""
