"""`python -m assay.node run …`: the same as `assay node run …`, for supervisors that know an interpreter and no scripts."""

from assay.node.cli import node

node()
