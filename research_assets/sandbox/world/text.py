"""The texts of the world: captions, transcripts, comments, profiles and names.

A text depends on the seed of its video, comment or account. It is generated on each access and not stored.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from research_assets.sandbox.world import vocabulary

T = TypeVar("T")


def pick(rng: Random, items: Sequence[T]) -> T:
    """Return one of the items. Faster than `Random.choice`; its slight bias does not matter here."""
    return items[int(rng.random() * len(items))]


def handle(index: int) -> str:
    """Return the unique username of account `index`; it ends with the digits of the index."""
    first = vocabulary.HANDLE_FIRST_PARTS[index % len(vocabulary.HANDLE_FIRST_PARTS)]
    second = vocabulary.HANDLE_SECOND_PARTS[
        index // len(vocabulary.HANDLE_FIRST_PARTS) % len(vocabulary.HANDLE_SECOND_PARTS)
    ]
    return f"{first}{('.', '_', '')[index % 3]}{second}{'_' if index % 3 == 2 else ''}{index}"


def display_name(rng: Random) -> str:
    """Return a display name."""
    return pick(rng, vocabulary.DISPLAY_NAMES) + pick(
        rng, ("", "", "", " 🌿", " Official", f" {rng.randrange(70, 99)}")
    )


def bio(rng: Random, language: str) -> str:
    """Return the text of a profile, often empty, sometimes with line breaks."""
    return pick(rng, vocabulary.BIOS[language])


def _subject(rng: Random, language: str, topic: str) -> str:
    subjects = vocabulary.SUBJECTS[language]
    return pick(rng, subjects.get(topic) or subjects[""])


def caption(rng: Random, language: str, topic: str, tags: Sequence[str], mention: str | None) -> str:
    """Return a caption with its tags: trailing blanks, repeated tags and `##tag` as recorded (reference §7 #17)."""
    parts = []
    if rng.random() > 0.06:
        parts.append(pick(rng, vocabulary.OPENERS[language]).format(n=rng.randrange(2, 90)))
        parts.append(_subject(rng, language, topic))
        if rng.random() < 0.15:
            parts.append(". ".join(_subject(rng, language, topic) for _ in range(rng.randrange(2, 12))))
    if rng.random() < 0.6:
        parts.append(pick(rng, vocabulary.TOPICS[topic].emoji) * pick(rng, (1, 1, 1, 3)))
    if mention:
        parts.append(f"@{mention}")
    parts += [f"#{tag}" for tag in tags]
    if tags and rng.random() < 0.06:
        parts.append(f"#{tags[0]}")
    if tags and rng.random() < 0.02:
        parts.append(f"##{tags[-1]}")
    text = " ".join(parts)
    return text + " " if text and rng.random() < 0.7 else text


def transcript(rng: Random, language: str, topic: str) -> str:
    """Return the spoken text of a video, at most about 2,000 characters."""
    length = min(60, 2 + int(rng.expovariate(1 / 6)))
    return " ".join(
        f"{pick(rng, vocabulary.OPENERS[language]).format(n=rng.randrange(2, 90))} {_subject(rng, language, topic)}"
        for _ in range(length)
    )


def comment_text(rng: Random, language: str) -> str:
    """Return the text of a comment: empty for a sticker, personal data masked."""
    draw = rng.random()
    if draw < 0.03:
        return ""
    if draw < 0.05:
        return pick(rng, vocabulary.MASKED_TEXTS)
    text = pick(rng, vocabulary.COMMENT_TEXTS[language])
    return text if draw < 0.8 else f"{text} {pick(rng, vocabulary.COMMENT_TEXTS[language])}"


def insert_nul(text: str, seed: int) -> str:
    """Return the text with U+0000 in two places, as recorded in 2024 (reference §7 #16)."""
    cut = 1 + seed % max(1, len(text))
    return f"{text[:cut]}\0{text[cut:]}\0"


def playlist_name(rng: Random) -> str:
    """Return the name of a playlist."""
    return pick(rng, vocabulary.PLAYLISTS)
