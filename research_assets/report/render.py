"""Templates into HTML. They escape every text; only pictures and the style go in as they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

HERE = Path(__file__).parent
_TICKS = re.compile("`([^`]+)`")


def render_template(template: str, style: str = "", **values: Any) -> str:
    """A whole document from a template of this folder, with the style that all share and more of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"ticked": _ticked, "breakable": _breakable}
    shared: Mapping[str, Any] = {"style": Markup((HERE / "page.css").read_text() + style), "markup": Markup}
    return environment.get_template(template).render(**shared, **values)


def _ticked(text: str) -> "Markup":
    """A description with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(_TICKS.sub(r"<code>\1</code>", str(escape(text))))


def _breakable(name: str) -> "Markup":
    """A name that may be parted after its dots and underscores, where a line is too short for it."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([._])", r"\1<wbr>", str(escape(name))))
