"""Rewriting of network files: edges go, or lose videos; the nodes and their values follow from the edges that remain.

An edge is a row with the names of its ends in the marts, so the rules of tables apply to it. A node goes with its last
edge. Not here: the rules (see compliance/exported_rows.py), other tables (see rewriting.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from research_assets.export.changes import Changes, MakeRule, Rule
from research_assets.export.csv_rewriting import find_in_csv, read_csv, write_csv_changes
from research_assets.export.network_files import EDGES, NODES, contents_values, save_gexf, save_graphml, with_days
from research_assets.export.networks import NETWORKS

_GRAPHS = (".graphml", ".gexf")
_ENDS = {network.name: network.ends for network in NETWORKS}


def is_network_file(path: Path) -> bool:
    """Return whether a file is one of a network, by its name."""
    return (path.stem in _ENDS and path.suffix in _GRAPHS) or _gephi_network(path) is not None


def find_in_network(path: Path, make_rule: MakeRule) -> Changes:
    """Return the changes of the edges of a network file, or of the rows of Gephi's nodes. Raises ValueError."""
    network = _gephi_network(path)
    if network is None:
        return _find_in_graph(path, make_rule)
    if path.name.endswith(EDGES):
        return find_in_csv(path, lambda names: _edge_rule(names, network, make_rule))
    return find_in_csv(path, lambda names: _node_rule(names, path.with_name(f"{network}{EDGES}"), network, make_rule))


def write_network_changes(path: Path, changes: Changes, draft: Path) -> None:
    """Write a network file without the changes to a draft."""
    if _gephi_network(path) is not None:
        write_csv_changes(path, changes, draft)
        return
    is_gexf = path.suffix == ".gexf"
    graph, removed = _read(path), set(changes.removed)
    for number, (source, target, values) in enumerate(list(graph.edges(data=True))):
        if number in removed:
            graph.remove_edge(source, target)
        elif number in changes.changed:
            new = dict(values) | dict(changes.changed[number])
            values.clear()
            values.update(_attributes(new, is_gexf=is_gexf))
    for node, values in list(graph.nodes(data=True)):
        if not (edges := [one for *_, one in _incident(graph, node)]):
            graph.remove_node(node)
            continue
        new = dict(values) | _node_values(edges)
        values.clear()
        values.update(_attributes(new, is_gexf=is_gexf))
    (save_gexf if is_gexf else save_graphml)(graph, draft)


def _gephi_network(path: Path) -> str | None:
    """Return the network of one of Gephi's files; None if it is none."""
    for end in (EDGES, NODES):
        if path.name.endswith(end) and (name := path.name.removesuffix(end)) in _ENDS:
            return name
    return None


def _read(path: Path) -> Any:
    import networkx as nx

    try:
        return nx.read_gexf(path) if path.suffix == ".gexf" else nx.read_graphml(path)
    except (ParseError, nx.NetworkXException, TypeError, AttributeError) as error:
        raise ValueError(f"not a network as it was exported: {error}") from error


def _find_in_graph(path: Path, make_rule: MakeRule) -> Changes:
    changes, graph = Changes(), _read(path)
    rule = make_rule([*_ENDS[path.stem], "study", "contents"])
    for source, target, values in graph.edges(data=True):
        result = rule([source, target, values.get("study"), values.get("contents")])
        changes.add(_edge_change(result, _ENDS[path.stem]))
    return changes


def _edge_change(result: Mapping[str, Any] | None, ends: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the change of an edge. A name of an end that changes was that of an item, so the edge goes."""
    return None if result is None or any(name in result for name in ends) else result


def _incident(graph: Any, node: str) -> Iterator[tuple[Any, ...]]:
    yield from graph.edges(node, data=True)
    if graph.is_directed():
        yield from graph.in_edges(node, data=True)


def _node_values(edges: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of a node that follow from its edges: its videos, and its first and last time."""
    if any(edge.get("contents") for edge in edges):
        contents = {one for edge in edges for one in (edge.get("contents") or "").split(" ") if one}
        values = contents_values(sorted(contents))
        return {"n_videos": values["weight"], "first_at": values["first_at"], "last_at": values["last_at"]}
    first = [edge["first_at"] for edge in edges if edge.get("first_at")]
    last = [edge["last_at"] for edge in edges if edge.get("last_at")]
    return {"first_at": min(first, default=None), "last_at": max(last, default=None)}


def _attributes(values: Mapping[str, Any], *, is_gexf: bool) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if value is not None and name not in ("start", "end")}
    return with_days(kept) if is_gexf else kept


def _edge_rule(names: Sequence[str], network: str, make_rule: MakeRule) -> Rule:
    ends = dict(zip(("Source", "Target"), _ENDS[network], strict=True))
    own = ends | {"Weight": "weight"}
    rule = make_rule([own.get(name, name) for name in names])
    back = {new: name for name, new in own.items()}

    def renamed(row: Sequence[Any]) -> Mapping[str, Any] | None:
        result = _edge_change(rule(row), _ENDS[network])
        if result is None:
            return None
        return {back.get(name, name): None if value is None else str(value) for name, value in result.items()}

    return renamed


def _node_rule(names: Sequence[str], edges: Path, network: str, make_rule: MakeRule) -> Rule:
    if not edges.exists():
        # A draft is checked without its edges.
        return make_rule(["mentioned_username" if name in ("Id", "Label") else name for name in names])
    nodes = _nodes_of_edges(edges, lambda header: _edge_rule(header, network, make_rule))

    def rule(row: Sequence[Any]) -> Mapping[str, Any] | None:
        values = dict(zip(names, row, strict=True))
        of_node = nodes.get(values["Id"])
        if of_node is None:
            return None
        new = {name: "" if value is None else str(value) for name, value in _node_values(of_node).items()}
        return {name: value or None for name, value in new.items() if values[name] != value}

    return rule


def _nodes_of_edges(path: Path, make_rule: Callable[[Sequence[str]], Rule]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the edges of each node that remain after a rule, with their values."""
    nodes: dict[str, list[Mapping[str, Any]]] = {}
    rows = read_csv(path)
    names = next(rows)
    rule = make_rule(names)
    for row in rows:
        change = rule(row)
        if change is not None:
            edge = dict(zip(names, row, strict=True)) | dict(change)
            for end in {edge["Source"], edge["Target"]}:
                nodes.setdefault(end, []).append(edge)
    return nodes
