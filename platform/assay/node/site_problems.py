"""Why a site cannot go on."""


class SiteProblem(Exception):
    """The site cannot go on. The text says why and what to do."""
