"""Identifiers of people in free text: links, addresses, telephone numbers, mentions, names of accounts and ids.

Disguises are found as well: links without a scheme, `name [at] domain dot com`, full-width and styled letters, and
invisible characters. The search runs on a view of the text in which such characters are replaced, and what it finds is
replaced in the text itself. A text without identifiers stays as it is.

Patterns cannot find everything: a name in prose has no form. They rather replace too much: `wonder.in` looks like the
link of a domain. Exports and the collection of pseudonymous studies use the same rule. Not here: the pseudonyms (see
pseudonyms.py), the columns of an export (see export/treatment.py).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

_GENERIC = (
    "academy|adult|africa|agency|app|apps|art|arte|asia|associates|auction|audio|auto|band|bar|bayern|beauty|beer|berlin|"
    "best|bet|bike|bio|biz|blog|boutique|brussels|buzz|cafe|cam|camera|camp|capital|cards|care|careers|cash|casino|cat|"
    "center|charity|chat|church|city|cleaning|click|clinic|clothing|cloud|club|coach|codes|coffee|college|com|community|"
    "company|consulting|contact|cooking|cool|coop|country|courses|cymru|dance|date|dating|deals|dental|design|dev|digital|"
    "direct|directory|discount|doctor|dog|download|earth|eco|edu|education|email|energy|engineer|estate|events|exchange|"
    "expert|express|family|fan|fans|farm|fashion|film|finance|fit|fitness|flowers|foo|football|forum|foundation|fun|fund|"
    "fyi|gallery|game|games|garden|gay|gift|gifts|gives|global|gmbh|gold|golf|gov|gratis|green|group|guide|guitars|guru|"
    "hair|hamburg|haus|health|healthcare|help|hiphop|hockey|holiday|homes|horse|hospital|host|hosting|hotel|house|how|icu|"
    "immo|info|ink|institute|int|international|invest|ist|istanbul|jetzt|jewelry|jobs|join|kaufen|kids|kim|kitchen|koeln|"
    "land|lat|law|lawyer|legal|lgbt|life|lifestyle|limited|link|live|lol|london|love|ltd|makeup|management|market|"
    "marketing|mba|media|memorial|men|menu|miami|mil|mobi|moda|moe|mom|money|monster|motorcycles|mov|movie|museum|music|"
    "name|net|network|news|ninja|nrw|nyc|one|online|onl|org|organic|page|paris|partners|parts|party|pet|photo|photography|"
    "photos|pics|pictures|pink|pizza|place|plus|poker|porn|post|press|pro|productions|promo|properties|pub|quebec|quest|"
    "racing|radio|recipes|reisen|rent|repair|report|rest|restaurant|review|reviews|rip|rocks|ruhr|run|saarland|sale|salon|"
    "school|science|scot|services|sex|sexy|shoes|shop|shopping|show|singles|site|ski|skin|soccer|social|software|solar|"
    "solutions|space|sport|store|storage|stream|studio|study|style|supply|support|surf|surgery|swiss|systems|tattoo|tax|"
    "team|tech|technology|tel|tennis|theater|tickets|tips|tirol|today|tokyo|tools|top|tours|town|toys|trade|training|"
    "travel|tube|university|uno|vegas|ventures|vet|video|villas|vin|vip|vision|vlog|vodka|vote|voyage|wales|watch|"
    "watches|webcam|website|wedding|wien|wiki|win|wine|work|works|world|wtf|xxx|xyz|yoga|zip|zone"
)
_COMMON = "com|net|org|info|ch|uk|fr|nl|pl|br|mx|ar|tv|io|ee|gg|ly|bio|link|app|shop|page|site|online"
"""Domains that are believed where a dot is written as a word that is frequent in prose."""

_SURE = "com|net|org|info|tv|ch|uk|fr|io|gg|ee|ly"
"""Domains that are believed behind a dot and a space, because they are no words."""

_PROVIDERS = (
    "gmail|googlemail|gmx|hotmail|outlook|yahoo|icloud|protonmail|proton|aol|yandex|t-online|posteo|mailbox|qq|163"
)

_BEGIN = r"(?<![\w.+@-])"
_LOCAL, _LABEL = r"[\w+][\w.+'-]*+", r"[\w-]{1,63}"
_OPEN, _CLOSE = r"[\[({<*_~|]", r"[\])}>*_~|]"
_COM = r"[c\u0441][o\u043e][m\u043c]"
"""`com`, also with Cyrillic letters of the same shape."""

_OTHERS = r"xn--[a-z0-9-]+|рф|бел|укр|中国|公司|网络|台灣|香港|コム|みんな|한국|닷컴"
_TOP = rf"(?:[a-z]{{2}}|{_COM}|{_GENERIC}|{_OTHERS})(?![\w-])"
_DOT_WORDS = "punkt|punto|point|ponto|tochka|точка|nokta|kropka"
_AT_WORDS = "ät|arroba|arobase|chiocciola|klammeraffe|собака|małpa|apenstaartje"

_DOT = rf"(?:\.|\s?{_OPEN}\s?(?:\.|dot|d0t|{_DOT_WORDS})\s?{_CLOSE}\s?)"
_DOT_WORD = r"(?:\s+(?:dot|d0t)\s+|[-_](?:dot|punkt)[-_])"
_DOT_PROSE = rf"(?:\s+(?:{_DOT_WORDS})\s+|\s\.\s)"
_ANY_DOT = rf"(?:{_DOT}|{_DOT_WORD}|{_DOT_PROSE}|(?:\s\.|\.\s)(?=(?:{_SURE})\b))"
_DOMAIN = rf"{_LABEL}(?:{_ANY_DOT}{_LABEL}){{0,3}}?{_ANY_DOT}{_TOP}"
_AT = rf"(?:\s?{_OPEN}\s?(?:at|a|@|{_AT_WORDS})\s?{_CLOSE}\s?|\s?[📧✉📩📨]\s?)"
_AT_WORD = rf"\s+(?:at|{_AT_WORDS})\s+"
_REST = r"[^\s\"'<>\\]*[^\s\"'<>\\)\]}.,;:!?]"
"""The rest of a link, without the punctuation behind it."""

_SUFFIX = rf"(?:\s?/\s?{_REST}|[?#:]{_REST}|\s+slash\s+[\w.@-]+|/)?"

_LINK = (
    r"(?P<link>"
    # A scheme, also disguised: hxxp, `https: //`.
    r"(?:[a-z][a-z0-9+.-]{1,9}:\s?/\s?/|h..ps?:/?/?|www\s?\.\s?|(?:mailto|tel|sms|skype|tg|whatsapp):)"
    rf"{_REST}"
    # An address without a scheme: with a path any domain, without one a domain that may exist.
    rf"|(?<![\w@-]){_LABEL}(?:\.{_LABEL}){{0,5}}?\.[^\W\d_]{{2,24}}(?::\d{{2,5}})?/(?:{_REST})?"
    rf"|(?<![\w@-]){_LABEL}(?:{_DOT}{_LABEL}){{0,5}}?{_DOT}{_TOP}{_SUFFIX}"
    rf"|(?<![\w@-]){_LABEL}{_DOT_WORD}{_TOP}{_SUFFIX}"
    rf"|(?<![\w@-]){_LABEL}\s+(?:(?:{_DOT_WORDS})\s+(?:{_COMMON})|punkt\s+(?:de|at|eu))(?![\w-]){_SUFFIX}"
    rf"|(?<![\w@-]){_LABEL}\s\.\s(?:{_SURE})(?![\w-]){_SUFFIX}"
    # An address of the internet.
    r"|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
    r")"
)
_MAIL = (
    r"(?P<mail>"
    rf"{_BEGIN}{_LOCAL}(?:@|\s@\s)(?:{_DOMAIN}|{_LABEL}(?:\.{_LABEL})+|(?:{_PROVIDERS})\s(?:{_COMMON}|de)(?![\w-]))"
    rf"|{_BEGIN}{_LOCAL}(?:\s@|@\s){_LABEL}(?:{_ANY_DOT}{_LABEL}){{0,3}}?{_ANY_DOT}(?:{_SURE}|de)(?![\w-])"
    rf"|{_BEGIN}{_LOCAL}{_AT}(?:{_DOMAIN}|{_LABEL}(?:\s(?:{_SURE}|de)(?![\w-]))?)"
    rf"|{_BEGIN}[\w+][\w.+'-]{{0,63}}?[-_]at[-_]{_DOMAIN}"
    rf"|{_BEGIN}{_LOCAL}(?:{_ANY_DOT}[\w+-]{{1,64}}){{0,3}}{_AT_WORD}"
    rf"(?:{_DOMAIN}|(?:{_PROVIDERS})(?![\w-])(?:\s(?:{_COMMON})(?![\w-]))?)"
    r")"
)
# TikTok allows no hyphen in a name; what follows one is removed with it.
_HANDLE = (
    r"@(?P<handle>[\w.]*\w)(?:-[\w.-]*\w)?"
    # Behind a space, the path of an address would stay.
    rf"|@\s+(?!{_LABEL}(?:\.{_LABEL}){{0,5}}?\.[^\W\d_]{{2,24}}(?::\d{{2,5}})?/)"
    r"(?P<spaced>(?=[a-z_]\S*[\d_.]\w)[\w.]*\w)"
)
_PLATFORM = (
    r"(?<!\w)(?:insta(?:gram)?|ig|snap(?:chat)?|sc|tele(?:gram)?|tg|twitter|you\s?tube|yt|twitch|discord|dc|kik|"
    r"whats\s?app|tik\s?tok|tt|facebook|fb|onlyfans|paypal|cash\s?app|venmo|threads|bluesky|mastodon|spotify|"
    r"psn|xbox|wechat|viber|skype|linkedin|vk)"
)
_ARROW = r"\s?(?:[:=]|[-=]>|➡|👉|→)\s?"
_NAME_LIKE = r"(?=[\w.]*[a-z])(?=[\w.]*[\d_.]\w)[\w.]*\w"
"""A word that looks like the name of an account: letters with a digit, an underscore or a dot within."""

_ACCOUNT = (
    rf"(?P<account>{_PLATFORM}(?:{_ARROW}@?[\w.]*\w|\s+@?{_NAME_LIKE})"
    # A name with a discriminator, as Discord had them.
    r"|(?<![\w#])[\w.]{2,32}#\d{4}(?!\w))"
)
# The length of an id, also in groups of digits; a telephone number has at most 15 digits.
_ID = r"(?P<id>(?<!\d)\d(?:[ ._-]?\d){15,19}(?!\d))"
_PHONE = (
    r"(?P<phone>(?<![\w+])(?:\+|00)\s?\(?\d(?:[\s./()-]{0,2}\d){6,14}(?!\w)"
    r"|(?<![\w+.,/-])(?:\(0\d{1,5}\)|0\d)(?:[\s/-]{0,2}\d){6,12}(?![\w./-])"
    r"|(?<![\w+])(?:\(\d{3}\)|\d{3})[ .-]?\d{3}[ .-]\d{4}(?!\w))"
)

_HINT = re.compile(
    # By the first character of what may follow, because a search for many words at each position takes long.
    rf"@|\w(?:\.\w|#\d{{4}})|\d(?:\W{{0,2}}\d){{8}}|\+\s?\(?\d|:\s?/|[-_](?:at|dot)[-_]|\.\s(?:{_SURE})\b|\s\.\s|"
    rf"{_OPEN}\s?(?:at|a|dot|d0t|\.|{_DOT_WORDS}|{_AT_WORDS})\s?{_CLOSE}|[📧✉📩📨]|"
    rf"\s(?:dot|d0t|{_AT_WORDS}|(?:{_DOT_WORDS})\s+(?:{_COMMON}|de|at|eu)|at\s+(?:{_PROVIDERS}))\b|"
    rf"\b(?:www|{_PLATFORM}(?:{_ARROW}|\s+\S*[\d_.])|(?:mailto|tel|sms|skype|tg|whatsapp):)",
    re.IGNORECASE,
)
"""Quick test: a text without a match contains no identifier. Most texts have none."""

_IDENTIFIER = re.compile("|".join((_MAIL, _LINK, _HANDLE, _ID, _PHONE, _ACCOUNT)), re.IGNORECASE)
_RANKS = {"name": 0, "mail": 1, "link": 1, "handle": 1, "spaced": 1, "bare": 2}
"""Ranks of the kinds that begin at the same character: a name after `@` first, then what may contain a name."""

_LAST_RANK = 3

_PLACEHOLDERS = {"link": "[link]", "mail": "[address]", "id": "[id]", "phone": "[number]", "account": "[account]"}

_CANDIDATE = re.compile(r"[^\t-\r -~]")
"""Characters that may be a disguise: all but those of ASCII that are printed."""

_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
_DOTS = frozenset("\u3002\uff0e\uff61\u2024\u06d4\ufe52\u0701\u0702\ua60e")


def replace_identifiers(text: str, pseudonym: Callable[[str], str], names: Sequence[str] = ()) -> str:
    """Return a text in which placeholders and pseudonyms replace what identifies people.

    `pseudonym` returns that of an account. `names` are accounts and mentioned names that belong to the text: after `@`
    they are found whatever they contain, and without it if they look like a name of an account.
    """
    view, positions = _view(text)
    named = _name_pattern(names) if names else None
    is_hinted = _HINT.search(view) is not None
    if named is None and not is_hinted:
        return text
    parts, end = [], 0
    for match in _matches(view, _IDENTIFIER if is_hinted else None, named):
        start, stop = match.span()
        if positions is not None:
            start, stop = positions[start], positions[stop - 1] + 1
        # One character of the text, such as a ligature, may belong to two matches.
        parts += [text[end:start], _replacement(match, pseudonym)]
        end = max(end, stop)
    return "".join((*parts, text[end:]))


def _matches(view: str, *patterns: re.Pattern[str] | None) -> Iterator[re.Match[str]]:
    """Yield the matches of some patterns as one pattern with all alternatives would: the leftmost, then by rank.

    In one pass, because a second pass would replace parts of the pseudonyms. One pattern with the names of a text would
    have to be compiled for each text, which takes 50 ms.
    """
    at = 0
    found = [pattern and pattern.search(view) for pattern in patterns]
    while candidates := [match for match in found if match is not None]:
        first = min(candidates, key=lambda match: (match.start(), _RANKS.get(match.lastgroup or "", _LAST_RANK)))
        yield first
        at = first.end()
        found = [
            pattern.search(view, at) if pattern and match and match.start() < at else match
            for pattern, match in zip(patterns, found, strict=True)
        ]


def _replacement(match: re.Match[str], pseudonym: Callable[[str], str]) -> str:
    kind = match.lastgroup or ""
    if kind in _PLACEHOLDERS:
        return _PLACEHOLDERS[kind]
    return ("" if kind == "bare" else "@") + pseudonym(match[kind])


def _name_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    """Return the pattern that finds some names; None if there is none."""
    longest_first = sorted(filter(None, {_view(name)[0] for name in names if name}), key=len, reverse=True)
    if not longest_first:
        return None
    mentioned = rf"@\s?(?P<name>{'|'.join(map(re.escape, longest_first))})(?!\w)"
    # A word of prose has none of these characters.
    handles = [re.escape(name) for name in longest_first if len(name) > 3 and re.search(r"[\d._]", name)]
    bare = rf"(?<![\w.])(?P<bare>{'|'.join(handles)})(?!\w)" if handles else "(?!)"
    return re.compile(f"{mentioned}|{bare}", re.IGNORECASE)


def _view(text: str) -> tuple[str, list[int] | None]:
    """Return a text without invisible and styled characters, and the position in the text of each of its characters.

    Without such characters, the text itself and None.
    """
    if not _CANDIDATE.search(text) or all(_plain(character) == character for character in set(text)):
        return text, None
    view: list[str] = []
    positions: list[int] = []
    for position, character in enumerate(text):
        for plain in _plain(character):
            view.append(plain)
            positions.append(position)
    return "".join(view), positions


@lru_cache(maxsize=10_000)
def _plain(character: str) -> str:
    """Return the usual form of a character; empty for an invisible one and for marks on another character."""
    if character in "\t\n\x0b\x0c\r":
        return character
    if character in _DOTS:
        return "."
    if character in _INVISIBLE or unicodedata.category(character) in ("Cf", "Cc", "Cs", "Mn", "Me"):
        return ""
    return unicodedata.normalize("NFKC", character)
