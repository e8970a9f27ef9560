"""`python -m assay.node run …`: the same as `assay node run …`, for supervisors that know an interpreter and no scripts.

`python -m assay.node site run …` is `assay site run …`.
"""

from assay.node.cli import node, site

node.add_command(site)
node()
