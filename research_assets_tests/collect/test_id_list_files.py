"""Id lists as other tools write them: data downloads, Zeeschuimer, 4CAT, spreadsheets. All values are invented."""

import csv
import io
import json
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from research_assets.collect.id_lists.reader import IdList, IdListError, read_id_list

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ID = 7503867840092128259
OTHER = 7503879097333924949
SHARE = "https://www.tiktokv.com/share/video/{}/"


def make_ids(number: int, seed: int = 1) -> list[int]:
    random = Random(seed)
    return [
        random.randrange(1_600_000_000, 1_775_000_000) << 32 | random.getrandbits(31) << 1 | 1 for _ in range(number)
    ]


def read(tmp_path: Path, name: str, content: str | bytes, **options: Any) -> IdList:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_id_list(file, NOW, **options)


def classes(found: IdList) -> dict[int, tuple[str, ...]]:
    return {one.id: one.groups for one in found.videos}


def links(ids: list[int], link: str = "Link", date: str = "Date") -> list[dict[str, str]]:
    return [{date: f"2026-05-{1 + i % 28:02} 10:00:00", link: SHARE.format(one)} for i, one in enumerate(ids)]


def download(version: str, ids: list[int]) -> dict[str, Any]:
    """Return a data download with 12 favourites, likes, shares, watched videos and own posts, as versions nest them."""
    favourites, likes, shares, watched, own = (ids[start : start + 12] for start in range(0, 60, 12))
    share_rows = [
        {"Date": "2026-05-01 10:00:00", "SharedContent": "video", "Link": SHARE.format(one), "Method": "chat_head"}
        for one in shares
    ]
    own_rows = [
        {"Date": "2026-05-01 10:00:00", "Link": f"https://www.tiktok.com/@me/video/{one}", "Likes": "5", "Title": "#a"}
        for one in own
    ]
    others = {
        "Favorite Sounds": {
            "FavoriteSoundList": [{"Date": "2026-05-01", "Link": f"https://www.tiktok.com/music/x-{ID}"}]
        },
        "Search History": {"SearchList": [{"Date": "2026-05-01", "SearchTerm": "garden"}]},
    }
    if version == "old":
        return {
            "Activity": {
                "Favorite Videos": {"FavoriteVideoList": links(favourites)},
                "Like List": {"ItemFavoriteList": links(likes, "VideoLink")},
                "Share History": {"ShareHistoryList": share_rows},
                "Video Browsing History": {"VideoList": links(watched, "VideoLink")},
                **others,
            },
            "Direct Messages": {
                "Chat History": {"ChatHistory": {"with b:": [{"From": "b", "Content": SHARE.format(OTHER)}]}}
            },
            "Video": {"Videos": {"VideoList": own_rows}},
        }
    return {
        "Your Activity": {
            "Watch History": {"VideoList": links(watched)},
            "Share History": {"ShareHistoryList": share_rows},
            "Search History": others["Search History"],
        },
        "Likes and Favorites": {
            "Favorite Videos": {"FavoriteVideoList": links(favourites)},
            "Favorite Sounds": others["Favorite Sounds"],
            "Like List": {"ItemFavoriteList": links(likes, "link", "date")},
        },
        "Post": {"Posts": {"VideoList": own_rows}},
    }


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("style", ["minified", "indented", "utf-8-sig", "utf-16", "zip"])
def test_data_download_is_read_whole_with_its_lists_as_classes(tmp_path: Path, version: str, style: str) -> None:
    ids = make_ids(60)
    text = json.dumps(download(version, ids), indent=2 if style == "indented" else None)
    content = text.encode(style if style.startswith("utf") else "utf-8")
    name = "user_data_tiktok.json"
    if style == "zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(f"TikTok/{name}", content)
        name, content = "TikTok_Data.zip", archive.getvalue()
    found = read(tmp_path, name, content)
    expected = ["favourites", "likes", "shares", "browsing history", "own posts"]
    assert classes(found) == {one: (expected[index // 12],) for index, one in enumerate(ids)}
    assert found.invalid == ()


def test_video_in_two_lists_of_a_download_has_both_classes(tmp_path: Path) -> None:
    data = {
        "Activity": {
            "Like List": {"ItemFavoriteList": links([ID])},
            "Video Browsing History": {"VideoList": links([ID, OTHER, OTHER])},
        }
    }
    found = read(tmp_path, "user_data.json", json.dumps(data))
    assert classes(found) == {ID: ("browsing history", "likes"), OTHER: ("browsing history",)}
    assert found.n_duplicates == 2


def test_links_of_a_download_that_are_no_videos_are_reported_with_their_place(tmp_path: Path) -> None:
    rows = [*links([ID]), {"Date": "2026-05-01", "Link": "https://www.tiktok.com/@anna"}, {"Date": "x", "Link": ""}]
    found = read(tmp_path, "a.json", json.dumps({"Activity": {"Share History": {"ShareHistoryList": rows}}}))
    assert [one.id for one in found.videos] == [ID]
    assert found.invalid == (("Share History, entry 2", "https://www.tiktok.com/@anna"), ("Share History, entry 3", ""))


@pytest.mark.parametrize(
    ("name", "label", "group"),
    [
        ("Like List.txt", "Link", "likes"),
        ("Favorite Videos.txt", "Link", "favourites"),
        ("Share History.txt", "Link", "shares"),
        ("Video Browsing History.txt", "Video Link", "browsing history"),
        ("Watch History.txt", "Link", "browsing history"),
        ("Historial.txt", "Enlace", "historial"),
        ("Posts.txt", "Link", "own posts"),
    ],
)
def test_text_form_of_a_download_is_read_whole(tmp_path: Path, name: str, label: str, group: str) -> None:
    ids = make_ids(60)
    text = "\r\n".join(
        f"Date: 2026-05-01 10:00:00 UTC\r\n{label}: {SHARE.format(one)}\r\nLike(s): 5\r\n" for one in ids
    )
    found = read(tmp_path, name, text)
    assert classes(found) == dict.fromkeys(ids, (group,))
    assert found.invalid == ()


def test_archive_of_text_files_is_read_whole(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("TikTok/Activity/Like List.txt", f"Date: 2026-05-01\nLink: {SHARE.format(ID)}\n")
        packed.writestr("TikTok/Activity/Watch History.txt", f"Date: 2026-05-01\nLink: {SHARE.format(OTHER)}\n")
        packed.writestr("TikTok/Direct Messages/Chat.txt", f"2026: {SHARE.format(7503867840092128261)}\n")
    assert classes(read(tmp_path, "data.zip", archive.getvalue())) == {ID: ("likes",), OTHER: ("browsing history",)}


def test_excel_file_is_refused_with_advice(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(IdListError, match="Save the table as CSV in UTF-8, with ids as text"):
        read(tmp_path, "list.xlsx", archive.getvalue())


def zeeschuimer(identifier: int, platform: str = "tiktok.com") -> dict[str, Any]:
    return {
        "id": 12,
        "nav_index": "3:42:7",
        "item_id": str(identifier),
        "timestamp_collected": 1_740_100_000_000,
        "source_platform": platform,
        "source_platform_url": "https://www.tiktok.com/@anna",
        "data": {
            "id": str(identifier),
            "desc": "a, \u2028 b \U0001f331",
            "createTime": 1_747_130_400,
            "author": {"id": "6800000000000000001", "uniqueId": "anna"},
            "music": {"id": "7301444403253757953"},
            "textExtra": [{"hashtagName": "garden", "hashtagId": "1663935709"}],
        },
    }


@pytest.mark.parametrize("number", [1, 60])
def test_zeeschuimer_file_is_read(tmp_path: Path, number: int) -> None:
    ids = make_ids(number)
    text = "".join(json.dumps(zeeschuimer(one), ensure_ascii=False) + "\n" for one in ids)
    found = read(tmp_path, "zeeschuimer.ndjson", text)
    assert [one.id for one in found.videos] == ids
    assert found.invalid == ()


def test_zeeschuimer_lines_of_other_platforms_and_damaged_lines_are_reported(tmp_path: Path) -> None:
    lines = [json.dumps(zeeschuimer(ID)), json.dumps(zeeschuimer(OTHER, "instagram.com")), '{"torn']
    found = read(tmp_path, "a.ndjson", "\n".join(lines))
    assert [one.id for one in found.videos] == [ID]
    assert found.invalid == (("line 2", "an item of instagram.com"), ("line 3", '{"torn'))


def test_comments_of_zeeschuimer_and_4cat_are_comments(tmp_path: Path) -> None:
    row = {"source_platform": "tiktok.com", "item_id": str(OTHER), "data": {"cid": str(OTHER), "aweme_id": str(ID)}}
    found = read(tmp_path, "comments.ndjson", json.dumps(row) + "\n" + json.dumps(row))
    assert (found.videos, found.comments) == ((), {ID: {OTHER}})
    found = read(tmp_path, "comments.csv", f"id,thread_id,body\n{OTHER},{ID},a\n")
    assert (found.videos, found.comments) == ((), {ID: {OTHER}})
    found = read(tmp_path, "comments.csv", f"comment_id,video_id\n{OTHER},{ID}\n")
    assert (found.videos, found.comments) == ((), {ID: {OTHER}})
    found = read(tmp_path, "api.csv", f"id,video_id,text,parent_comment_id\n{OTHER},{ID},a,{ID}\n")
    assert (found.videos, found.comments) == ((), {ID: {OTHER}})


def test_4cat_table_and_lines_are_read(tmp_path: Path) -> None:
    ids = make_ids(60)
    names = ["collected_from_url", "id", "thread_id", "author", "body", "timestamp", "music_id", "tiktok_url", "likes"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for one in ids:
        writer.writerow(
            {
                "collected_from_url": "https://www.tiktok.com/@anna",
                "id": one,
                "thread_id": one,
                "author": "anna",
                "body": 'two\nlines, "quotes" \u2028 \x85',
                "timestamp": "2025-05-13 10:00:00",
                "music_id": 7301444403253757953,
                "tiktok_url": f"https://www.tiktok.com/@anna/video/{one}",
                "likes": 5,
            }
        )
    found = read(tmp_path, "4cat.csv", text.getvalue())
    assert [one.id for one in found.videos] == ids
    assert (found.comments, found.invalid) == ({}, ())
    lines = "".join(
        json.dumps({**zeeschuimer(one)["data"], "__import_meta": {"source_platform": "tiktok.com"}}) + "\n"
        for one in ids
    )
    assert [one.id for one in read(tmp_path, "4cat.ndjson", lines).videos] == ids


@pytest.mark.parametrize(
    "value",
    [
        [ID, OTHER],
        [str(ID), SHARE.format(OTHER)],
        [{"id": ID, "author": {"id": 1}}, {"id": str(OTHER)}],
        {"data": {"videos": [{"id": ID, "hashtag_names": ["a"]}, {"video_id": OTHER}], "cursor": 2}},
        {"tags": ["a", "b"], "videos": [{"aweme_id": str(ID)}, {"url": SHARE.format(OTHER)}]},
    ],
)
def test_other_json_is_read(tmp_path: Path, value: Any) -> None:
    found = read(tmp_path, "list.json", json.dumps(value))
    assert [one.id for one in found.videos] == [ID, OTHER]
    assert found.invalid == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', "is damaged JSON"),
        ('{"a": [{"id": 7.503867840092128e18}]}', "rounded"),
        ('{"Activity": {}, "Activity": {}}', "has the key 'Activity' twice"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "contains no video id"),
        ('{"a": {"b": []}}', "contains no video id"),
    ],
)
def test_json_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(IdListError, match=message):
        read(tmp_path, "list.json", text)


@pytest.mark.parametrize(
    "text",
    [
        f"id\n'{ID}\n'{OTHER}\n",
        f'id\n"=""{ID}"""\n"=""{OTHER}"""\n',
        f"id\n{ID:,}\n{OTHER:,}\n".replace(",", "."),
        f"id\n\u200b{ID}\u00a0\n\u202a{OTHER}\u202c\n",
        f"sep=;\r\nid;note\r\n{ID};a\r\n{OTHER};b\r\n",
        f'"title; of it";id\n"a; b";{ID}\n"c";{OTHER}\n',
        f"id,caption\n{ID},a\u2028{OTHER + 2}\n{OTHER},b\x85c\n",
        f"nr,video_id\n1,{ID}\n2,{OTHER}\n",
        f"id,video_id\n1,{ID}\n2,{OTHER}\n",
        f"Video ID\n{ID}\n{OTHER}\n",
        f"{ID},{OTHER}\n",
        f"{ID} {OTHER}\n",
        f"{ID}\r{OTHER}\r",
        f"{SHARE.format(ID)} {SHARE.format(OTHER)}\n",
        f"@anna/video/{ID}\n@anna/photo/{OTHER}\n",
        f"https://www.tiktok.com/embed/v2/{ID}\nhttps://www.tiktok.com/player/v1/{OTHER}\n",
        f"{ID};1,5\n{OTHER};2,5\n",
        f"{ID},a; b\n{OTHER},c; d\n",
        f"music_id,video\n7301444403253757953,{ID}\n7301444403253757953,{OTHER}\n",
        f"link\nhttps://www.tiktok.com/@a/video/{ID}?q=a,b\nhttps://m.tiktok.com/v/{OTHER}.html\n",
    ],
)
def test_spellings_of_spreadsheets_and_pasted_lists_are_read(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, "list.csv", text)
    assert [one.id for one in found.videos] == [ID, OTHER]
    assert (found.invalid, found.n_duplicates) == ((), 0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_list_in_the_encodings_of_spreadsheets_is_read(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, "list.csv", f"id;note\r\n{ID};m\u00f6we\r\n".encode(encoding))
    assert [one.id for one in found.videos] == [ID]


@pytest.mark.parametrize(
    ("text", "invalid"),
    [
        (f"id,link\n{ID},a\n,b\n", ("line 3", "")),
        (f"id\n{ID}\nhttps://www.douyin.com/video/{OTHER}\n", ("line 3", f"https://www.douyin.com/video/{OTHER}")),
        (f"id\n{ID}\nhttps://nottiktok.com/@a/video/{OTHER}\n", ("line 3", f"https://nottiktok.com/@a/video/{OTHER}")),
        (f"id\n{ID}\n0{OTHER}\n", ("line 3", f"0{OTHER}")),
        (f"id\n{ID}\n{OTHER} or so\n", ("line 3", f"{OTHER} or so")),
        (f"caption,id\na,{ID}\na,b,{OTHER}\n", ("line 3", "3 cells instead of 2")),
        (f"id\n{ID}\n{2**63 + 5}\n", ("line 3", f"{2**63 + 5}")),
    ],
)
def test_line_that_is_not_certainly_an_id_is_reported(tmp_path: Path, text: str, invalid: tuple[str, str]) -> None:
    found = read(tmp_path, "list.csv", text)
    assert [one.id for one in found.videos] == [ID]
    assert found.invalid == (invalid,)


def test_day_on_which_a_video_was_watched_is_not_its_day_of_publication(tmp_path: Path) -> None:
    found = read(tmp_path, "list.csv", f"date,link\n2025-05-14,{SHARE.format(ID)}\n")
    assert found.videos[0].day is None


ROUNDING = {
    "float": lambda one: int(float(one)),
    "javascript": lambda one: int(f"{float(one)!r}".partition("e")[0].replace(".", "").ljust(19, "0")),
    "spreadsheet": lambda one: int(str(one)[:15].ljust(19, "0")),
}


@pytest.mark.parametrize("rounding", ROUNDING)
@pytest.mark.parametrize("style", ["csv", "json", "links", "ndjson"])
@pytest.mark.parametrize("number", [1, 40])
def test_rounded_ids_are_refused_whatever_they_look_like(
    tmp_path: Path, rounding: str, style: str, number: int
) -> None:
    ids = [ROUNDING[rounding](one) for one in make_ids(number)]
    text = {
        "csv": "id\n" + "\n".join(map(str, ids)),
        "json": json.dumps([{"id": one} for one in ids]),
        "links": "\n".join(map(SHARE.format, ids)),
        "ndjson": "\n".join(json.dumps(zeeschuimer(one)) for one in ids),
    }[style]
    with pytest.raises(IdListError, match=r"were rounded: .*the ids as text.*No request was sent.*--ids-are-exact"):
        read(tmp_path, f"list.{style}", text)
    assert len(read(tmp_path, f"list.{style}", text, ids_are_exact=True).videos) == len(set(ids))


def test_rounded_ids_among_true_ones_are_refused_with_their_lines(tmp_path: Path) -> None:
    ids = make_ids(200)
    ids[100:120] = [int(float(one)) for one in ids[100:120]]
    with pytest.raises(IdListError, match=r"20 of 200 ids .*line 102: "):
        read(tmp_path, "list.csv", "id\n" + "\n".join(map(str, ids)))


def test_one_round_id_among_many_is_reported_and_requested(tmp_path: Path) -> None:
    ids = [*make_ids(1130), 7503867840092128000]
    found = read(tmp_path, "list.csv", "id\n" + "\n".join(map(str, ids)))
    assert len(found.videos) == 1131
    assert found.suspicious == (("line 1132", 7503867840092128000),)


def test_classes_of_a_column_are_counted_each(tmp_path: Path) -> None:
    found = read(tmp_path, "list.csv", f"id,how\n{ID},liked\n{ID},watched\n{OTHER},watched\n", group="how")
    assert Counter(group for one in found.videos for group in one.groups) == {"liked": 1, "watched": 2}


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.json", json.dumps([ID]), {"column": "id"}, "is no table"),
        ("a.json", json.dumps([ID]), {"group": "how"}, "is no table"),
        ("a.csv", f"{ID}\n", {"column": "id"}, "no header"),
        ("a.csv", f"music_id\n{ID}\n", {}, "is unclear: music_id"),
        ("a.csv", f"id,id\n{ID},{OTHER}\n", {}, "two columns 'id'"),
        ("a.csv", f"x,X \n{ID},{OTHER}\n", {"column": " x"}, "two columns"),
        ("a.csv", f'id,note\n{ID},"a\n{OTHER},b\n', {}, "wrong quotes in line 2"),
    ],
)
def test_options_and_columns_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(IdListError, match=message):
        read(tmp_path, name, text, **options)
