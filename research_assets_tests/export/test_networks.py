"""Networks of an export, opened with networkx and igraph, and what a removal leaves of them."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import igraph  # type: ignore[import-untyped]
import networkx as nx
import pytest
from click.testing import CliRunner
from frictionless import Package

from research_assets.cli import main
from research_assets.compliance.forget import remove_folder, remove_items
from research_assets.export import NETWORK_FORMATS, Export, ExportError, ExportRequest, export, networks
from research_assets.export.build import read_export
from research_assets.export.pseudonyms import load_or_create_key, make_pseudonymizer
from research_assets.export.rewriting import RewritingError, find_changes
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import NOW, OTHER, STUDY, VIDEO, at, make_warehouse, record_build

LATER = datetime(2026, 6, 2, tzinfo=UTC)
SOUND = 7_500_000_000_000_000_001
SECOND = 7602399228894800999
"""A second video of anna, with the same sound and the hashtags `garten` and `=odd`."""

_TABLES = """
CREATE TABLE marts.follows (
    study VARCHAR, source_username VARCHAR, target_username VARCHAR, first_seen_at TIMESTAMPTZ,
    last_seen_at TIMESTAMPTZ, is_current BOOLEAN, is_mutual BOOLEAN, is_left_censored BOOLEAN
);
CREATE TABLE marts.mentions (
    study VARCHAR, day DATE, video_id BIGINT, comment_id BIGINT, username VARCHAR, mentioned_username VARCHAR,
    is_handle BOOLEAN, created_at TIMESTAMPTZ
);
CREATE TABLE marts.hashtag_pairs (study VARCHAR, day DATE, hashtag VARCHAR, other_hashtag VARCHAR);
DROP TABLE marts.users;
CREATE TABLE marts.users (
    study VARCHAR, username VARCHAR, is_verified BOOLEAN, follower_count BIGINT, following_count BIGINT,
    video_count BIGINT
);
INSERT INTO marts.users VALUES ('garden', 'anna', true, 12, 3, 9);
INSERT INTO marts.follows VALUES
    ('garden', 'ben.k', 'anna', '2026-02-03 10:00:00+00', '2026-02-10 10:00:00+00', true, false, false),
    ('garden', 'dora', 'ben.k', '2026-02-03 10:00:00+00', '2026-02-03 10:00:00+00', NULL, false, true),
    ('bikes', 'ben.k', 'dora', '2026-02-03 10:00:00+00', '2026-02-03 10:00:00+00', true, false, true);
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Export]]:
    settings = make_warehouse(tmp_path_factory.mktemp("networks") / "data")
    with duckdb.connect(str(settings.warehouse)) as db:
        db.execute(_TABLES)
        db.execute(
            "INSERT INTO marts.videos (study, video_id, day, username, created_at, description, hashtags, music_id) "
            f"VALUES ('garden', ?, ?, 'anna', ?, ?, ['garten', '=odd'], {SOUND})",
            [SECOND, date(2026, 2, 3), at(3), "see https://x.org/@ben.k, and https://y.org/a"],
        )
        db.execute("UPDATE marts.videos SET hashtags = ['garten'] WHERE video_id = ?", [VIDEO])
        db.execute(
            "UPDATE marts.videos SET music_id = 7400000000000000001, created_at = ? WHERE video_id = ?", [at(2), OTHER]
        )
        for row in [
            ("garden", date(2026, 2, 1), VIDEO, None, "anna", "ben.k", True, at(1)),
            ("garden", date(2026, 2, 3), SECOND, None, "anna", "ben.k", True, at(3)),
            ("garden", date(2026, 2, 3), SECOND, None, "anna", "dora", True, at(3)),
            ("garden", date(2026, 2, 3), SECOND, None, "anna", "Frau Dr. Carla", False, at(3)),
            ("garden", date(2026, 2, 3), SECOND, 77, None, "dora", True, at(4)),
        ]:
            db.execute("INSERT INTO marts.mentions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", list(row))
    requests = {
        "plain": ExportRequest(formats=("csv", *NETWORK_FORMATS)),
        "pseudonymous": ExportRequest(formats=NETWORK_FORMATS, pseudonymous=True),
    }
    return settings, {name: export(settings, request, [STUDY], NOW) for name, request in requests.items()}


@pytest.fixture
def copy(exported: tuple[Settings, dict[str, Export]], tmp_path: Path) -> tuple[Settings, dict[str, Export]]:
    """A copy of the data folder, and its exports."""
    settings = replace(exported[0], root=shutil.copytree(exported[0].root, tmp_path / "data"))
    record_build(settings)
    return settings, {
        name: replace(one, folder=settings.exports / one.folder.name) for name, one in exported[1].items()
    }


def graphml(one: Export, name: str, study: str = "garden") -> Any:
    return nx.read_graphml(one.folder / "graphml" / study / f"{name}.graphml")


def gexf(one: Export, name: str, study: str = "garden") -> Any:
    return nx.read_gexf(one.folder / "gexf" / study / f"{name}.gexf")


def table(one: Export, path: str) -> list[dict[str, str]]:
    with (one.folder / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def edges(graph: Any) -> set[tuple[Any, ...]]:
    return {(source, target, values["weight"]) for source, target, values in graph.edges(data=True)}


def test_networks_are_described_for_archives(copy: tuple[Settings, dict[str, Export]]) -> None:
    settings, exports = copy
    for removes in (False, True):
        if removes:
            remove_items(settings, lambda: LATER, videos=[SECOND])
        for one in exports.values():
            report = Package.from_descriptor(str(one.folder / "datapackage.json")).validate()
            assert report.valid, report.flatten(["name", "title", "message"])
            described = json.loads((one.folder / "datapackage.json").read_text())["resources"]
            kept = [file for file in read_export(one.folder).files if file.format in NETWORK_FORMATS]
            assert {(file.path, f"sha256:{file.sha256}") for file in kept} <= {
                (resource["path"], resource["hash"]) for resource in described
            }


def test_coarse_release_of_a_network_is_refused(exported: tuple[Settings, dict[str, Export]]) -> None:
    with pytest.raises(ExportError, match="a coarse release has none"):
        export(exported[0], ExportRequest(formats=("csv", "gexf"), coarse=True), [STUDY], NOW)


def test_networks_have_weights_times_and_attributes(exported: tuple[Settings, dict[str, Export]]) -> None:
    plain = exported[1]["plain"]
    for read in (graphml, gexf):
        mentions = read(plain, "mention_network")
        assert mentions.is_directed()
        assert edges(mentions) == {("anna", "ben.k", 2), ("anna", "dora", 1)}
        edge = mentions.edges["anna", "ben.k"]
        assert (edge["first_at"], edge["last_at"]) == ("2026-02-01T10:00:00Z", "2026-02-03T10:00:00Z")
        assert edge["contents"] == f"{VIDEO}@{int(at(1).timestamp())} {SECOND}@{int(at(3).timestamp())}"
        assert mentions.nodes["anna"]["n_videos"] == 2
        sounds = read(plain, "sound_network")
        assert not sounds.is_directed()
        assert edges(sounds) == {("anna", f"music:{SOUND}", 2), ("12345678901234567", "music:7400000000000000001", 1)}
        assert {values["kind"]: values["type"] for _, values in sounds.nodes(data=True)} == {
            "account": False,
            "sound": True,
        }
        hashtags = read(plain, "hashtag_network")
        assert {name for name, kind in hashtags.nodes(data="kind") if kind == "hashtag"} == {"#garten", "#=odd"}
        assert hashtags.edges["anna", "#garten"]["weight"] == 2
        assert edges(read(plain, "hashtag_pair_network")) == {("#=odd", "#garten", 1)}
        follows = read(plain, "follow_network")
        assert edges(follows) == {("ben.k", "anna", 1), ("dora", "ben.k", 1)}
        assert follows.edges["ben.k", "anna"]["is_current"] is True
        assert "is_current" not in follows.edges["dora", "ben.k"]
        assert follows.nodes["anna"]["follower_count"] == 12
        assert edges(read(plain, "follow_network", "bikes")) == {("ben.k", "dora", 1)}
    days = gexf(plain, "mention_network").edges["anna", "ben.k"]
    assert (days["start"], days["end"]) == ("2026-02-01", "2026-02-03")
    assert plain.rows["mention_network"] == 2
    assert plain.rows["follow_network"] == 3


def test_igraph_reads_modes_and_weights(exported: tuple[Settings, dict[str, Export]]) -> None:
    path = exported[1]["plain"].folder / "graphml" / "garden" / "sound_network.graphml"
    graph = igraph.Graph.Read_GraphML(str(path))
    assert graph.is_bipartite()
    assert sorted(graph.es["weight"]) == [1, 2]
    assert sorted(graph.vs["type"]) == [False, False, True, True]


def test_tables_of_gephi_and_coortweet_have_their_columns(exported: tuple[Settings, dict[str, Export]]) -> None:
    plain = exported[1]["plain"]
    rows = table(plain, "gephi/garden/hashtag_network_edges.csv")
    assert list(rows[0])[:5] == ["Source", "Target", "Type", "Weight", "study"]
    assert {(row["Source"], row["Target"], row["Type"], row["Weight"]) for row in rows} == {
        ("anna", "#=odd", "Undirected", "1"),
        ("anna", "#garten", "Undirected", "2"),
    }
    nodes = table(plain, "gephi/garden/hashtag_network_nodes.csv")
    assert {row["Id"] for row in nodes} == {row[end] for row in rows for end in ("Source", "Target")}
    assert list(nodes[0])[:4] == ["Id", "Label", "kind", "n_videos"]
    shares = table(plain, "coortweet/garden/shared_sounds.csv")
    assert list(shares[0])[:4] == ["object_id", "account_id", "content_id", "timestamp_share"]
    assert {row["account_id"] for row in shares} == {"anna", "id_12345678901234567"}
    first = next(row for row in shares if row["content_id"] == f"id_{VIDEO}")
    assert (first["object_id"], first["account_id"]) == (f"music:{SOUND}", "anna")
    assert first["timestamp_share"] == str(int(at(1).timestamp()))
    links = table(plain, "coortweet/garden/shared_links.csv")
    assert {row["object_id"] for row in links} >= {"https://x.org/@ben.k", "https://y.org/a"}
    assert len(table(plain, "coortweet/garden/shared_mentions.csv")) == 3


def texts(folder: Path) -> Iterator[str]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path.read_text(encoding="utf-8")


def test_pseudonymous_networks_have_no_names(exported: tuple[Settings, dict[str, Export]]) -> None:
    settings, exports = exported
    one = exports["pseudonymous"]
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))
    anna, ben = pseudonym("user", "anna"), pseudonym("user", "ben.k")
    assert graphml(one, "mention_network").edges[anna, ben]["weight"] == 2
    assert graphml(one, "sound_network").edges[anna, f"music:{pseudonym('music', str(SOUND))}"]["weight"] == 2
    for format_folder in NETWORK_FORMATS:
        for text in texts(one.folder / format_folder):
            assert not any(name in text for name in ("anna", "ben.k", "dora", str(VIDEO), str(SECOND), str(SOUND)))
    assert not (one.folder / "coortweet" / "garden" / "shared_links.csv").exists()


@pytest.mark.parametrize("name", ["plain", "pseudonymous"])
def test_withdrawn_video_leaves_edges_and_nodes(copy: tuple[Settings, dict[str, Export]], name: str) -> None:
    settings, exports = copy
    one, before = exports[name], exports[name].rows
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))

    def shown(kind: str, value: str) -> str:
        return value if name == "plain" else pseudonym(kind, value)

    (receipt,) = remove_items(settings, lambda: LATER, videos=[SECOND])
    assert receipt.is_complete, receipt.problems
    assert receipt.exports == ()
    for text in texts(one.folder):
        assert shown("video", str(SECOND)) not in text
    anna, ben = shown("user", "anna"), shown("user", "ben.k")
    for read in (graphml, gexf):
        mentions = read(one, "mention_network")
        assert edges(mentions) == {(anna, ben, 1)}
        assert mentions.edges[anna, ben]["last_at"] == mentions.nodes[anna]["last_at"] == "2026-02-01T10:00:00Z"
        assert set(mentions.nodes) == {anna, ben}
        assert mentions.nodes[anna]["n_videos"] == 1
        assert not read(one, "hashtag_pair_network").nodes
        assert set(read(one, "follow_network").nodes) == {anna, ben, shown("user", "dora")}
    assert gexf(one, "mention_network").edges[anna, ben]["end"] == "2026-02-01"
    assert [row["Weight"] for row in table(one, "gephi/garden/mention_network_edges.csv")] == ["1"]
    nodes = table(one, "gephi/garden/mention_network_nodes.csv")
    assert {(row["Id"], row["n_videos"], row["last_at"]) for row in nodes} == {
        (anna, "1", "2026-02-01T10:00:00Z"),
        (ben, "1", "2026-02-01T10:00:00Z"),
    }
    manifest = json.loads((one.folder / "manifest.json").read_text())
    assert manifest["removals"][0]["rows"]["mention_network"] == 1
    assert before["mention_network"] == 2


@pytest.mark.parametrize("name", ["plain", "pseudonymous"])
def test_withdrawn_account_leaves_every_network(copy: tuple[Settings, dict[str, Export]], name: str) -> None:
    settings, exports = copy
    one = exports[name]
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))
    (receipt,) = remove_items(settings, lambda: LATER, handles=["ben.k"])
    assert receipt.is_complete, receipt.problems
    hidden = "ben.k" if name == "plain" else pseudonym("user", "ben.k")
    for text in texts(one.folder):
        assert hidden not in text
    assert not graphml(one, "follow_network").nodes
    assert len(graphml(one, "mention_network").edges) == 1


@pytest.mark.integration
def test_removed_study_leaves_the_networks(copy: tuple[Settings, dict[str, Export]]) -> None:
    settings, exports = copy
    (settings.raw / "videos" / "study=bikes").mkdir(parents=True)
    assert remove_folder(settings, lambda: LATER, "bikes")
    assert not graphml(exports["plain"], "follow_network", "bikes").edges
    assert len(graphml(exports["plain"], "follow_network").edges) == 2


def test_damaged_network_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mention_network.graphml"
    path.write_text("<graphml>")
    with pytest.raises(RewritingError, match=r"mention_network\.graphml cannot be rewritten"):
        find_changes(path, lambda _: lambda _: {})


def test_too_large_network_is_refused(
    exported: tuple[Settings, dict[str, Export]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "MAX_EDGES", 1)
    with pytest.raises(ExportError, match="has 2 edges, too many for graphml: the limit is 1"):
        export(exported[0], ExportRequest(formats=("graphml",), marts=("mentions",)), [STUDY], NOW)
    gephi = export(exported[0], ExportRequest(formats=("gephi",), marts=("mentions",)), [STUDY], NOW)
    assert gephi.rows == {"mention_network": 2, "mention_network_nodes": 3}
    shutil.rmtree(gephi.folder)


def test_selected_days_apply_to_networks(exported: tuple[Settings, dict[str, Export]]) -> None:
    request = ExportRequest(studies=("garden",), formats=("graphml",), first=date(2026, 2, 3))
    one = export(exported[0], request, [STUDY], NOW)
    assert edges(graphml(one, "mention_network")) == {("anna", "ben.k", 1), ("anna", "dora", 1)}
    assert "follow_network" not in one.rows
    assert "This export contains networks only." in (one.folder / "README.md").read_text()
    shutil.rmtree(one.folder)


def test_request_without_edges_is_refused(exported: tuple[Settings, dict[str, Export]]) -> None:
    with pytest.raises(ExportError, match="no edges of a network"):
        export(exported[0], ExportRequest(formats=("gexf",), marts=("comments",)), [STUDY], NOW)


def test_network_format_without_edges_is_named(exported: tuple[Settings, dict[str, Export]]) -> None:
    one = export(exported[0], ExportRequest(formats=("csv", "gexf"), marts=("comments",)), [STUDY], NOW)
    assert one.skipped == {"gexf": "no edges of a network in the selected marts and days"}
    assert "Skipped: `gexf`." in (one.folder / "README.md").read_text()
    shutil.rmtree(one.folder)


def test_command_offers_the_network_formats() -> None:
    result = CliRunner().invoke(main, ["export", "--help"])
    assert all(name in result.output for name in NETWORK_FORMATS)
