"""A page's HTML as one line: how a template is broken into lines and indented is no matter of a test."""

import re

from django.http import HttpResponse


def markup(answer: HttpResponse) -> str:
    """The body with every run of white space as one space, and none inside the brackets of a tag's end."""
    return re.sub(r"\s+(?=>)", "", " ".join(answer.content.decode().split()))
