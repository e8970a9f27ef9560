"""`{% survive "challenge" row.slug %} … {% endsurvive %}`: one row that cannot be shown does not take the page with it.

In a table a third argument says over how many columns the sentence goes: `{% survive "submission" row.number 5 %}<tr>…`.
"""

import logging

from django import template
from django.template.base import FilterExpression, Node, NodeList, Parser, Token
from django.template.context import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

log = logging.getLogger(__name__)
NOUNS = {
    "challenge": _("challenge"),
    "submission": _("submission"),
    "person": _("person"),
    "node": _("node"),
    "event": _("event"),
}
register = template.Library()


class Survive(Node):
    """The block, or a sentence in its place where it cannot be rendered."""

    def __init__(self, *, nodelist: NodeList, arguments: list[FilterExpression]) -> None:
        self.nodelist, self.arguments = nodelist, arguments

    def render(self, context: Context) -> SafeString:
        noun, name, *columns = [argument.resolve(context) for argument in self.arguments]
        try:
            with context.push():
                return self.nodelist.render(context)
        except Exception:
            log.exception("row.unreadable", extra={"noun": str(noun), "row": str(name)})
            words = gettext("This %(noun)s cannot be read: %(name)s") % {
                "noun": NOUNS.get(str(noun), noun),
                "name": name,
            }
            note = format_html('<p class="notice bad" role="note">{}</p>', words)
            return format_html('<tr><td colspan="{}">{}</td></tr>', columns[0], note) if columns else note


@register.tag
def survive(parser: Parser, token: Token) -> Survive:
    """What kind of row it is, which one, and in a table the number of columns."""
    _, *arguments = token.split_contents()
    nodelist = parser.parse(("endsurvive",))
    parser.delete_first_token()
    return Survive(nodelist=nodelist, arguments=[parser.compile_filter(argument) for argument in arguments])
