# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from fuzzed_graphs import META, classifier
from small_graphs import Draft, encoder_block, with_tensor

from simulator.errors import InputError
from simulator.graph import verify
from simulator.graph.meta import graph_meta

PREPROCESSING: dict[str, Any] = json.loads(META["preprocessing"])


def without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def preprocessed(**changes: Any) -> dict[str, str]:
    return {**META, "preprocessing": json.dumps({**PREPROCESSING, **changes})}


def test_a_graph_by_hand_has_none() -> None:
    assert graph_meta(encoder_block()) is None


def test_what_it_says_has_types() -> None:
    found = graph_meta(classifier())
    assert found is not None
    assert (found.classes, found.model_arguments) == (5, {"depth": 1})
    assert found.preprocessing == PREPROCESSING
    plain = graph_meta(classifier(without(META, "model_arguments")))
    assert plain is not None
    assert plain.model_arguments == {}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (without(META, "classes"), "meta: classes: Field required"),
        (without(META, "preprocessing"), "meta: preprocessing: Field required"),
        ({**META, "Klassen": "5"}, "meta: Klassen: Extra inputs"),
        ({**META, "\x1b": "5"}, "meta: '\\x1b': Extra inputs"),
        *(
            ({**META, "classes": classes}, "meta: classes")
            for classes in ("", "0", "-5", "05", "5.0", "five", " 5", "5\n", "٥", "1" * 30, "nan")
        ),
        ({**META, "classes": "4"}, "meta: classes 4, and output head has shape (5,)"),
        *(
            ({**META, "preprocessing": text}, "meta: preprocessing: ")
            for text in ("", "{", "[]", "3", "null", "{}", "[" * 10**4, "9" * 5000, "x" * 10**6)
        ),
        (
            {**META, "preprocessing": META["preprocessing"].replace("0.9", "NaN")},
            "NaN is not JSON",
        ),
        (
            {**META, "preprocessing": '{"crop_pct": 1, ' + META["preprocessing"][1:]},
            "twice",
        ),
        (preprocessed(std=[0, 0.5, 0.5]), "std = [0, 0.5, 0.5]"),
        (preprocessed(mean=[0.5]), "mean = [0.5]"),
        (preprocessed(crop_pct=0), "crop_pct = 0"),
        (preprocessed(crop_mode="\x1b[2J"), "crop_mode = "),
        (preprocessed(more=1), "more: unknown"),
        (
            preprocessed(input_size=[3, 4, 8]),
            "input_size (3, 4, 8), and input image is (3, 4, 4)",
        ),
        ({**META, "model_arguments": "[]"}, "model_arguments: must be a JSON object"),
        ({**META, "model_arguments": "depth=1"}, "model_arguments: not JSON"),
    ],
)
def test_what_means_nothing_is_refused(meta: dict[str, str], message: str) -> None:
    graph = classifier(meta)
    (problem,) = verify(graph)
    assert message in problem
    assert problem.isprintable()


def test_the_accessor_names_the_graph() -> None:
    with pytest.raises(InputError, match="graph small: meta: classes: Field required"):
        graph_meta(classifier(without(META, "classes")))


@pytest.mark.parametrize("key", sorted(PREPROCESSING))
def test_preprocessing_is_complete(key: str) -> None:
    meta = {**META, "preprocessing": json.dumps(without(PREPROCESSING, key))}
    (problem,) = verify(classifier(meta))
    assert f"{key}: missing" in problem


@pytest.mark.parametrize("end", ["image", "head"])
def test_what_codes_are_worth_is_known_at_both_ends(end: str) -> None:
    graph = with_tensor(classifier(), end, scale=())
    (problem,) = verify(graph)
    assert f"tensor {end}: has no scale, and meta has preprocessing" in problem
    by_hand = with_tensor(classifier(meta={}), end, scale=())
    assert verify(by_hand) == []


def test_classes_are_the_last_dimension_of_the_first_output() -> None:
    """Networks with a head for every token have classes, too."""
    d = Draft()
    d.input("image", (3, 4, 4))
    d.reshape("tokens", "image", 4, 12)
    d.slice("scores", "tokens", 0, 5, axis=1)
    d.transpose("turned", "scores", 1, 0)
    graph = d.graph("scores", "turned", meta=META)
    for name in ("image", "scores", "turned"):
        graph = with_tensor(graph, name, scale=(0.5,))
    assert verify(graph) == []
