"""Output on a terminal or into a file whose encoding lacks a character: it is replaced, and no command fails.

Not here: characters that control a terminal (see text.py).
"""

import codecs
import sys
import unicodedata

_ERRORS = "research_assets.replace"
_PLAIN_ASCII = "research-assets-ascii"
"""ASCII under another name: click writes UTF-8 to a stream whose encoding has the name `ascii`."""

_SYMBOLS = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{MIDDLE DOT}": ".",
    "\N{CHECK MARK}": "+",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{REPLACEMENT CHARACTER}": "?",
}
"""Symbols of the commands, which stay distinguishable. Other characters become their escapes, such as `\\xf6`."""


def print_every_character() -> None:
    """Let the standard streams replace characters that their encoding lacks, instead of raising UnicodeEncodeError."""
    codecs.register_error(_ERRORS, _replace)
    codecs.register(_find_plain_ascii)
    for stream in (sys.stdout, sys.stderr):
        # A stream that another program put there may have no encoding.
        if reconfigure := getattr(stream, "reconfigure", None):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            reconfigure(encoding=_PLAIN_ASCII if is_ascii else stream.encoding, errors=_ERRORS)


def _find_plain_ascii(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _PLAIN_ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=_PLAIN_ASCII,
        encode=ascii_codec.encode,
        decode=ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
        streamwriter=ascii_codec.streamwriter,
        streamreader=ascii_codec.streamreader,
    )


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(character: str) -> str:
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("ascii", "backslashreplace").decode()
