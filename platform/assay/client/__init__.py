"""The HTTP client and the `assay` command. Knows the API by its address only: imports no Django and none of the apps."""
