"""Changes of Sphinx's HTML that a screen reader needs."""

import re
from typing import Any

PARAMETERS = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*?</dd>\s*)+)</dl>', re.DOTALL)


def mend(
    _app: object, _name: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Give headings of the navigation a level, and make parameters no list of definitions."""
    tree = context.get("furo_navigation_tree", "")
    levelled = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    context["furo_navigation_tree"] = levelled
    if "body" in context:
        context["body"] = PARAMETERS.sub(_as_blocks, context["body"])


def _as_blocks(found: re.Match[str]) -> str:
    parameters = found[1].replace("<dd>", "<span>").replace("</dd>", "</span>")
    return f'<span class="parameters">{parameters}</span>'
