"""Forms of the desk as a browser sends them back."""

import re
from html import unescape


def form_of(client, url) -> dict[str, str | list[str]]:
    """What a browser would send back if nothing was touched."""
    page = client.get(url).content.decode()
    return read_form(page)


def read_form(page: str) -> dict[str, str | list[str]]:
    body = page[page.index('name="made_from"') - 200 : page.index('name="save"')]
    data: dict[str, str | list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", body):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        name, value = attributes.get("name", ""), unescape(attributes.get("value", ""))
        if attributes.get("type") == "checkbox":
            if re.search(r"\bchecked\b", tag):
                data[name] = [*data.get(name, []), value]
        elif name:
            data[name] = value
    for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\n?(.*?)</textarea>', body, re.DOTALL):
        data[name] = unescape(text).replace("\n", "\r\n")
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', body, re.DOTALL):
        chosen = re.search(r'value="([^"]*)"\s+selected', options)
        data[name] = unescape(chosen[1]) if chosen else ""
    return data
