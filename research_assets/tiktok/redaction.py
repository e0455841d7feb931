"""Removal of the credentials of a client from everything that the server returns.

The transport applies it to each response before anything is decoded, stored or logged. So a stored page may contain
`***` where the server repeated a credential; no other byte is changed. Not here: reading a response (see transport.py).
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

REPLACEMENT = b"***"

MIN_CHARACTERS = 8
MIN_UNIFORM_CHARACTERS = 20
"""Minimum length of a credential that consists only of letters or only of digits. An id has at most 19 digits."""

MAX_TOKENS = 16
"""Number of the newest tokens of the process that are removed. A token is valid for 2 hours (reference §2), so these
cover a run of a day."""

# Bytes of a response, the rarest first: punctuation, then letters and digits as in pages of videos.
_BY_RARITY = b"~^`|$@!;<>+=*'()?\\%&/.-#qxzjykwb8vp593642l1fum7gcrdh_:,tsnoaie0" + b' {}[]"'
_MIN_RARE = 4
_MAX_LAYERS = 4
_MAX_ROUNDS = 3
_MAX_ESCAPES = 200_000

_ESCAPE = re.compile(  # of an ASCII character
    rb"\\{1,8}+(?:u00|x)([0-7][0-9a-fA-F])"  # JSON, also inside a JSON string
    rb"|%(?:25)*([0-7][0-9a-fA-F])"  # URL, also encoded repeatedly
    rb"|&#[xX]0*([0-7][0-9a-fA-F]);?"  # HTML
    rb"|&#0*(1?[0-9]{2});?"
    rb"|\0"
)

_ESCAPES_BEGIN = (b"\\", b"%", b"&", b"\0")
"""The first bytes of what `_ESCAPE` matches."""

_TOKEN = re.compile(r"(?=.*[0-9A-Z])\S{16,}")
"""Form of a token that is removed. Of 900 random ones of 40 letters, digits, `-` and `_` one has no digit, and
practically none has neither a digit nor a capital letter. Names of the API's fields have lower-case letters only."""

_tokens: tuple[str, ...] = ()


class Redactor:
    """Replaces key, secret and tokens by `***`, in upper or lower case, in each form that a server may return.

    The forms are: plain; base64, also as part of a longer text such as `key:secret`; and both with characters escaped
    as in JSON, URLs or HTML, or with NUL characters in between, which the decoder drops. Not recognized are a
    credential that is divided between two values, and the escaped forms of one that contains quotes, backslashes, `%`
    or `&` (assumption: TikTok issues none).

    Credentials that are shorter than `MIN_CHARACTERS`, or that are only letters or only digits and shorter than
    `MIN_UNIFORM_CHARACTERS`, stay, because their removal would destroy data that contain the same word or number.
    TikTok issues none (assumption).
    """

    def __init__(self, *credentials: str) -> None:
        """`credentials` are the key and the secret; the tokens of the process follow with `add_token`."""
        self._credentials = credentials
        self._tokens: tuple[str, ...] = ()
        self._forms = _Forms(credentials)

    def __repr__(self) -> str:
        """Return the class, without credentials."""
        return "Redactor()"

    def add_token(self, token: str) -> None:
        """Remove a token from now on, in all clients of this process.

        A text below 16 characters, without a digit or capital letter, or with blanks stays: otherwise a server could
        name a field, and all data would lose it.
        """
        global _tokens
        if _TOKEN.fullmatch(token):
            _tokens = (*(known for known in _tokens if known != token), token)[-MAX_TOKENS:]

    def redact(self, data: bytes) -> bytes:
        """Return the bytes without credentials; only `***` if a credential cannot be removed.

        The same is returned for more than 200,000 escaped ASCII characters, because resolving them would take seconds.
        """
        if self._tokens is not _tokens:
            self._tokens = _tokens
            self._forms = _Forms((*self._credentials, *_tokens))
        for _ in range(_MAX_ROUNDS):
            found = self._forms.found_in(data)
            if found is None:
                break
            if not found:
                return data
            data = _pattern(found, may_be_escaped=any(first in data for first in _ESCAPES_BEGIN)).sub(REPLACEMENT, data)
        return REPLACEMENT

    def redact_text(self, text: str) -> str:
        """Return the text without credentials."""
        return self.redact(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


class _Forms:
    """The forms of some credentials in lower case, and fast tests whether a response contains one.

    Most responses contain none, and searching each form takes longer than decoding the page. So one pass reduces the
    response to a few rare characters, of which each form has several, and searches the same characters of the forms.
    """

    def __init__(self, credentials: Iterable[str]) -> None:
        self._forms = {form for text in credentials if _is_recognizable(text) for form in _forms(text)}
        kept = set(b"".join(self._forms))
        contained = [(Counter(form), len(form)) for form in self._forms]
        for byte in sorted(kept, key=_rarity, reverse=True):
            rest = [(numbers, n_kept - numbers[byte]) for numbers, n_kept in contained]
            if all(n_kept >= _MIN_RARE for _, n_kept in rest):
                contained = rest
                kept.remove(byte)
        self._dropped = bytes(byte for byte in range(256) if _LOWER[byte] not in kept)
        self._rare = {form: form.translate(None, self._dropped) for form in self._forms}
        together = b"".join(self._forms)
        codes = "|".join(f"{byte:02x}|{byte:02X}" for byte in {*together, *together.upper(), 0, ord("\\")})
        self._escapes = (
            (b"\\", re.compile(rf"\\(?:u00|x)(?:{codes})".encode())),
            (b"%", re.compile(rf"%(?:25)*(?:{codes})".encode())),
            (b"&", re.compile(b"&#[0-9xX]")),
        )

    def found_in(self, data: bytes) -> tuple[bytes, ...] | None:
        """Return the forms that the bytes contain, the longest first; None for too many escaped characters."""
        if not self._forms:
            return ()
        found = self._literally_in(data)
        if b"\\" in data and b"\\/" in data:
            data = data.replace(b"\\/", b"/")
            found |= self._literally_in(data)
        for _ in range(_MAX_LAYERS):
            if b"\0" not in data and not any(first in data and escape.search(data) for first, escape in self._escapes):
                break
            data, n_escapes = _ESCAPE.subn(_unescape, data, _MAX_ESCAPES)
            if n_escapes == _MAX_ESCAPES:
                return None
            if not n_escapes:
                break
            found |= self._literally_in(data)
        return tuple(sorted(found, key=len, reverse=True))

    def _literally_in(self, data: bytes) -> set[bytes]:
        rare = data.translate(_LOWER, self._dropped)
        candidates = [form for form, piece in self._rare.items() if piece in rare]
        lower = data.lower() if candidates else b""
        return {form for form in candidates if form in lower}


_LOWER = bytes(range(256)).lower()


def _is_recognizable(text: str) -> bool:
    uniform = text.isalpha() or text.isdecimal()
    return len(text) >= (MIN_UNIFORM_CHARACTERS if uniform else MIN_CHARACTERS)


def _forms(text: str) -> Iterator[bytes]:
    """Yield a credential as plain text and in base64, in lower case."""
    data = text.encode("utf-8", "surrogatepass")
    yield data.lower()
    for offset in range(3):
        # The first characters also depend on the bytes before, the last one on the bytes after.
        part = slice(-(-offset * 8 // 6), (offset + len(data)) * 8 // 6)
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(offset) + data)[part].lower()


def _rarity(byte: int) -> int:
    return _BY_RARITY.find(byte)


def _unescape(match: re.Match[bytes]) -> bytes:
    code = next((int(group, 10 if number == 3 else 16) for number, group in enumerate(match.groups()) if group), 0)
    return bytes([code]) if code else b""


@lru_cache(maxsize=16)
def _pattern(forms: tuple[bytes, ...], *, may_be_escaped: bool) -> re.Pattern[bytes]:
    return re.compile(b"|".join(map(_with_escapes if may_be_escaped else re.escape, forms)), re.IGNORECASE)


def _with_escapes(form: bytes) -> bytes:
    """Return the pattern of a form, which also takes in backslashes before it: a half escape would not be JSON."""
    units = []
    for byte in form:
        codes = {byte, *bytes([byte]).upper()}
        hexadecimal = "|".join(f"{code:02x}" for code in codes).encode()
        decimal = "|".join(str(code) for code in codes).encode()
        units.append(
            rb"(?:(?:\\|%%5c){0,8}+(?:%b|(?:u00|x)(?:%b))|%%(?:25)*(?:%b)|&#x0*(?:%b);?|&#0*(?:%b);?)"
            % (re.escape(bytes([byte])), hexadecimal, hexadecimal, hexadecimal, decimal)
        )
    return rb"(?:(?:\\|%5c){1,8}+(?:u00|x)00|%00|\0)*".join(units)
