"""Pictures of graphs: boxes never overlap, edges end where they should, and it is quick."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from numtorch.drawing import Box, Drawing


def check(drawing):
    """All boxes and wires inside the picture, none over another, arrows downwards."""
    drawing.arrange()
    every = [b for layer in drawing.layers for b in layer]
    for layer in drawing.layers:
        for a, b in itertools.pairwise(layer):
            assert a.x + a.width / 2 < b.x - b.width / 2
    for upper, lower in zip(drawing.layers, drawing.layers[1:]):
        assert max(b.y + b.height for b in upper) < min(b.y for b in lower)
    for b in every:
        assert 0 <= b.x - b.width / 2 and b.x + b.width / 2 <= drawing.width and 0 <= b.y and b.y + b.height <= drawing.height
    for path in drawing.paths:
        assert all(a.rank + 1 == b.rank for a, b in itertools.pairwise(path))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=80),
)
def test_any_graph(widths, edges):
    boxes = [Box(["x" * w, "line"]) for w in widths]
    found = [(a % len(boxes), b % len(boxes)) for a, b in edges]
    drawing = Drawing(boxes, found)
    check(drawing)
    ET.fromstring(drawing.svg())


def test_a_chain_is_straight_and_a_diamond_has_no_crossing():
    chain = Drawing([Box([f"op{k}"]) for k in range(6)], [(k, k + 1) for k in range(5)]).arrange()
    assert max(b.x for b in chain.boxes) - min(b.x for b in chain.boxes) < 1  # pixel
    diamond = Drawing([Box(["a"]), Box(["b"]), Box(["c"]), Box(["d"])], [(0, 1), (0, 2), (1, 3), (2, 3)]).arrange()
    assert diamond._crossings() == 0 and len(diamond.layers) == 3


def test_long_edges_are_told_in_words_and_text_is_escaped():
    boxes = [Box(["first"], tag="%0"), *(Box([f"<op & {k}>"], note='say "x"') for k in range(20))]
    drawing = Drawing(boxes, [(k, k + 1) for k in range(20)] + [(0, 20)])
    picture = drawing.svg()
    assert boxes[20].lines[-1] == "  from %0"
    texts = [t.text for t in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert "<op & 3>" in texts and picture.count("<title>") == 20


def test_an_empty_drawing():
    assert ET.fromstring(Drawing([], []).svg()).tag.endswith("svg")
