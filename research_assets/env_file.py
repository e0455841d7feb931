"""The file `.env`: its encoding, its lines and its values. Nothing in it is dropped without an error.

Not here: the meaning of the variables, and which value takes precedence (see settings.py).
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from research_assets.text_files import TextFileError, read_text


class EnvFileError(ValueError):
    """A `.env` file that cannot be read, or a line of it that has no clear meaning. The message quotes no value."""


def read_env_file(
    path: Path, environ: Mapping[str, str], *, is_ours: Callable[[str], bool], is_literal: Callable[[str], bool]
) -> dict[str, str]:
    """Return the variables of a `.env` file; empty if there is no file.

    `${NAME}` in a value is replaced by an earlier variable of the file or by one of `environ`, except in values of
    names for which `is_literal` is true, such as passwords. An empty value hides no other value of the same name.
    Raises EnvFileError if the file is not readable text, and for a line with a name for which `is_ours` is true that
    sets no variable or sets it to another value than an earlier line. Other programs may have lines of their own.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(_read_text(path))):
        text = binding.original.string
        line = binding.original.line + len(text[: len(text) - len(text.lstrip())].splitlines())
        if binding.error or (binding.key and binding.value is None):
            if is_ours(_first_word(text)):
                raise EnvFileError(
                    f"Line {line} of {path} sets no variable. Write it as NAME=value, with a closing quote if the "
                    "value begins with one."
                )
            continue
        if not binding.key:
            continue
        name, value = binding.key, binding.value or ""
        if not is_literal(name):
            known = {**values, **environ}
            value = "".join(atom.resolve(known) for atom in parse_variables(value))
        if not value.strip() and name in values:
            continue
        if is_ours(name) and values.get(name, "").strip() not in ("", value.strip()):
            raise EnvFileError(
                f"{path} sets {name} to different values in line {lines[name]} and line {line}. Keep one of the lines."
            )
        values[name], lines[name] = value, line
    return values


def _read_text(path: Path) -> str:
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise EnvFileError(f"The file {path} cannot be read: {error.strerror}.") from error
    except TextFileError as error:
        raise EnvFileError(f"The file {path} cannot be read: it {error}.") from error
    if "\0" in text:
        raise EnvFileError(f"The file {path} cannot be read: it contains NUL characters. Save the file as UTF-8.")
    return text


def _first_word(line: str) -> str:
    words = line.strip().removeprefix("export ").replace("=", " ").replace(":", " ").split()
    return words[0] if words else ""
