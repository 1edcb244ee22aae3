# SPDX-License-Identifier: Apache-2.0
"""The JSON of Model Explorer: its fields alone, edges from nodes that are there, figures."""

from __future__ import annotations

import json

from simulator import strict_json
from simulator.export.model_explorer import collection, overlays

# Of graph_builder.py and node_data_builder.py, ai-edge-model-explorer 0.1.34.
FIELDS = {
    "collection": {"label", "graphs", "graphSorting"},
    "graph": {
        "id",
        "nodes",
        "groupNodeAttributes",
        "groupNodeConfigs",
        "nodeLabelsToHide",
        "tasksData",
        "layoutConfigs",
    },
    "node": {
        "id",
        "label",
        "namespace",
        "subgraphIds",
        "attrs",
        "incomingEdges",
        "outputsMetadata",
        "inputsMetadata",
        "style",
        "config",
    },
    "edge": {"sourceNodeId", "sourceNodeOutputId", "targetNodeInputId"},
    "overlay": {"results", "name", "thresholds", "gradient"},
}


def figures(graph):
    return {op.name: {"cycles": index, "sqnr_db": 0.5} for index, op in enumerate(graph.ops)}


def test_nodes_are_the_ops_and_the_two_ends(block):
    made = collection(block, {})
    assert made.keys() <= FIELDS["collection"]
    (graph,) = made["graphs"]
    assert graph.keys() <= FIELDS["graph"]
    names = [node["id"] for node in graph["nodes"]]
    ends = [f"{name}/output" for name in block.outputs]
    assert names == [*block.inputs, *(op.name for op in block.ops), *ends]
    assert len(set(names)) == len(names)


def test_edges_lead_from_nodes_that_are_there(block):
    (graph,) = collection(block, {})["graphs"]
    seen = set()
    for node in graph["nodes"]:
        assert node.keys() <= FIELDS["node"]
        for edge in node["incomingEdges"]:
            assert edge.keys() == FIELDS["edge"]
            assert edge["sourceNodeId"] in seen
        seen.add(node["id"])
    by_name = {node["id"]: node for node in graph["nodes"]}
    for op in block.ops:
        sources = [edge["sourceNodeId"] for edge in by_name[op.name]["incomingEdges"]]
        assert sources == [name for name in op.operands if not block.is_constant(name)]


def test_attributes_are_text_and_hold_the_figures(block):
    (graph,) = collection(block, figures(block))["graphs"]
    for node in graph["nodes"]:
        assert all(isinstance(pair["value"], str) for pair in node["attrs"])
        found = {pair["key"]: pair["value"] for pair in node["attrs"]}
        if node["id"] in figures(block):
            assert found["cycles"] == str(figures(block)[node["id"]]["cycles"])


def test_an_overlay_has_a_value_of_every_op_with_that_figure(block):
    some = figures(block)
    last = block.ops[-1].name
    del some[last]["sqnr_db"]
    made = overlays(block, some)
    assert made.keys() == {"cycles", "sqnr_db"}
    for key, data in made.items():
        (overlay,) = data.values()
        assert list(data) == [block.name]
        assert overlay.keys() <= FIELDS["overlay"]
        assert [stop["stop"] for stop in overlay["gradient"]] == [0, 1]
        assert (last in overlay["results"]) == (key == "cycles")
        for name, result in overlay["results"].items():
            assert result == {"value": some[name][key]}


def test_all_of_it_is_strict_json(block):
    text = strict_json.dumps(collection(block, figures(block)))
    assert json.loads(text) == collection(block, figures(block))
