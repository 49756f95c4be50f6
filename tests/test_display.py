"""What a notebook shows: well-formed, escaped, nothing fetched or run, readable in a light and a dark theme."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

import numtorch as torch
from numtorch import nn
from numtorch.display import table
from numtorch.profiler import profile, record_function


def checked(html: str) -> ET.Element:
    """The page as a tree, once it is seen to be harmless and to leave the theme's colours alone."""
    root = ET.fromstring(f"<div>{html}</div>")
    assert {e.tag for e in root.iter()} <= {"div", "pre", "table", "thead", "tbody", "tr", "th", "td", "br"}
    assert all(set(e.attrib) <= {"style"} for e in root.iter())
    styles = " ".join(e.get("style", "") for e in root.iter())
    assert "url" not in styles and not re.search(r"(?<!-)color:(?!rgba)", styles)
    return root


def rows(html: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in checked(html).iter("tr")]


def test_a_tensor_is_its_text_and_what_that_leaves_out():
    t = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    page = checked(t._repr_html_())
    assert page.findtext("pre") == repr(t)
    assert page.findtext("div") == "float64, shape [2, 3], cpu, requires grad"
    assert checked(torch.tensor(7)._repr_html_()).findtext("div") == "int64, shape [], cpu"
    assert "Parameter containing" in nn.Parameter(torch.ones(1))._repr_html_()


def test_a_module_is_a_tree_with_its_parameters():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), *(nn.Linear(4, 4) for _ in range(3)))
    model[0].weight.requires_grad_(False)
    found = rows(model._repr_html_())
    assert [row[0].strip() for row in found] == ["module", "Sequential", "0", "1", "2 to 4"]
    assert found[2][2:] == ["weight [4, 1, 3, 3]", "36"] and "running_mean [4]" in found[3][2]
    assert found[4][1].startswith("3 x Linear(in_features=4") and found[4][3] == "20"
    assert "104 parameters, 68 of them trained; in training mode" in model._repr_html_()
    assert "in evaluation mode" in model.eval()._repr_html_()


def test_alike_in_print_only_is_not_alike():
    class Scale(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.by = nn.Parameter(torch.ones(n))

    assert [row[2] for row in rows(nn.ModuleList([Scale(1), Scale(2), Scale(2)])._repr_html_())[2:]] == ["by [1]", "by [2]"]


def test_modules_of_many_kinds():
    assert rows(nn.Linear(2, 3)._repr_html_())[1] == [
        "Linear", "Linear(in_features=2, out_features=3, bias=True)", "weight [3, 2], bias [3]", "9",
    ]  # fmt: skip
    lazy = nn.LazyLinear(3)
    assert "weight without a shape yet" in lazy._repr_html_() and "some without a shape yet" in lazy._repr_html_()
    assert "without a shape yet" in lazy.weight._repr_html_()
    assert "and 51 more lines" in nn.Sequential(*(nn.Linear(k, 1) for k in range(1, 251)))._repr_html_()

    class Own(nn.Linear):
        def __repr__(self):
            return "mine"

    assert Own(1, 1)._repr_html_() is None  # the user's own words


def test_text_is_escaped():
    class Odd(nn.Module):
        def extra_repr(self):
            return "<script>alert('&')</script>"

    assert "<script>alert('&')</script>" in rows(Odd()._repr_html_())[1][1]
    with profile() as p, record_function("<b>"):
        torch.ones(2).exp()
    assert "<b>" in [row[0] for row in rows(p._repr_html_())]
    assert rows(table(["<"], [["&"]], notes=['"<i>']))[1] == ["&"]


def test_profiles_are_tables_with_bars():
    with profile(record_shapes=True) as p:
        torch.ones(400, 400).exp()
    traced = torch.jit.trace(lambda x: torch.softmax(x @ x, 1), torch.ones(8, 8))
    for found, columns in ((p, 9), (p.key_averages(group_by_input_shape=True), 10), (traced.profile(torch.ones(8, 8)), 8)):
        html = found._repr_html_()
        assert {len(row) for row in rows(html)} == {columns}
        widths = [int(w) for w in re.findall(r"width:(\d+)px", html)]
        assert len(widths) == len(rows(html)) - 1 and widths == sorted(widths, reverse=True) and 1 <= widths[0] <= 120


def test_a_long_profile_shows_where_most_time_goes():
    with profile() as p:
        for k in range(25):
            with record_function(f"part {k}"):
                pass
    assert len(rows(p._repr_html_())) == 21 and "5 more lines" in p._repr_html_()


@pytest.mark.parametrize("what", ["summary", "statistics"])
def test_descriptions(what):
    model = nn.Sequential(nn.Linear(3, 2))
    if what == "summary":
        found = torch.utils.summary(model, (1, 3))
    else:
        with torch.utils.watch(model) as found:
            model(torch.ones(1, 3))
    assert len(rows(found._repr_html_())) == len(found.table())
