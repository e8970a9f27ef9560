"""What every page's template may use without asking: the chosen colours."""

from django.http import HttpRequest

THEMES = ("light", "dark")


def theme(request: HttpRequest) -> dict[str, str]:
    """`theme` is light, dark, or empty for what the system says. From a cookie, so the first paint is right."""
    chosen = request.COOKIES.get("theme", "")
    return {"theme": chosen if chosen in THEMES else ""}
