"""`assay import`: other platforms' bundles and data folders become a bundle that `assay challenge push` accepts."""
