"""The layout of the world's 64-bit ids, which encode a video or comment completely.

The upper 32 bits are a time in Unix seconds, as in the real API (reference §3.1.3). The lower 32 bits look random and
encode the position: the day, the index within the day, and for comments the number within the thread. So no index of
all ids is needed, and a world of any length takes no memory.
"""

from collections.abc import Iterable

DAY = 86400
_LOW = 0xFFFFFFFF
_VIDEO_DAYS = 2  # bits: a video is published up to three midnights after its upload
_COMMENT_DAYS = 6  # bits: a comment is written up to 63 midnights after the video


_FACTOR, _TERM = 0x9E3779B1, 0x7F4A7C15


def _scramble(second: int) -> int:
    return (second * _FACTOR + _TERM) & _LOW


class IdLayout:
    """The layout of the lower bits. `index_bits` of them encode the index of a video within its day."""

    __slots__ = ("_index", "comment_limit", "index_bits")

    def __init__(self, index_bits: int) -> None:
        self.index_bits = index_bits
        self._index = (1 << index_bits) - 1
        self.comment_limit = 1 << (32 - _COMMENT_DAYS - index_bits)

    def video_id(self, upload: int, create_day: int, index: int, noise: int) -> int:
        """Return the id of video `index` of day `create_day` (days since 1970), uploaded at `upload` (Unix seconds)."""
        return upload << 32 | self.low(create_day - upload // DAY, index, noise) ^ _scramble(upload)

    def low(self, days: int, index: int, noise: int) -> int:
        """Return the lower bits of a video's id before scrambling."""
        return (index | days << self.index_bits | noise << (self.index_bits + _VIDEO_DAYS)) & _LOW

    def day_ids(self, day: int, parts: Iterable[tuple[int, int]]) -> list[int]:
        """Return the ids of videos of a day, each given by its upload (seconds after midnight) and its lower bits."""
        start = day * DAY
        return [(u := start + second) << 32 | low ^ (u * _FACTOR + _TERM & _LOW) for second, low in parts]

    def indexes(self, ids: Iterable[int]) -> list[int]:
        """Return the indexes that video ids encode."""
        mask = self._index
        return [(i ^ (i >> 32) * _FACTOR + _TERM) & mask for i in ids]

    def video_place(self, video_id: int) -> tuple[int, int]:
        """Return the day and the index that a video id encodes. The existence of the video is not checked."""
        upload = video_id >> 32
        low = (video_id & _LOW) ^ _scramble(upload)
        return upload // DAY + (low >> self.index_bits & 3), low & self._index

    def comment_id(self, written: int, video_day: int, index: int, number: int) -> int:
        """Return the id of comment `number` of a video, written at `written` (Unix seconds)."""
        days = written // DAY - video_day
        low = index | (days << self.index_bits) | number << (self.index_bits + _COMMENT_DAYS)
        return written << 32 | (low & _LOW) ^ _scramble(written)

    def comment_place(self, comment_id: int) -> tuple[int, int, int]:
        """Return the video's day and index, and the comment's number, that a comment id encodes."""
        written = comment_id >> 32
        low = (comment_id & _LOW) ^ _scramble(written)
        days = low >> self.index_bits & ((1 << _COMMENT_DAYS) - 1)
        return written // DAY - days, low & self._index, low >> (self.index_bits + _COMMENT_DAYS)
