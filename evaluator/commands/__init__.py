"""The commands `assay evaluate`, `assay protocol` and `assay rank`. Imported only when one of them is used."""
