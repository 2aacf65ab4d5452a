"""What the papers print is what we count: to the printed digit, or as far off as the card says, and why."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from golden.__main__ import FAITHFULNESS, faithfulness

from hrnas.faithfulness import Row, as_json, compare, format_rows, read_rows
from hrnas.reading import UserError, validate
from hrnas.space.architecture import Figures, PublishedPoint
from hrnas.space.published import load_point, published_names

PRINTED = [
    pytest.param(point, figures, id=f"{point.name}: {figures.paper} {figures.table} {figures.data} {figures.input[0]}")
    for point in map(load_point, published_names())
    for figures in point.published
]


@pytest.mark.parametrize(("point", "figures"), PRINTED)
def test_a_printed_figure_is_ours_to_its_last_digit_or_its_card_says_why(point: PublishedPoint, figures: Figures):
    verdicts = compare(point, figures).verdicts
    assert "off" not in verdicts
    assert ("within" in verdicts) == (figures.within is not None), "a card allows no more than it must"


def test_the_page_is_what_the_program_prints():
    assert FAITHFULNESS.read_text(encoding="utf-8") == faithfulness(), "write it again: make golden"


# ---------------------------------------------------------------------------------------------------------------------
# the rule itself


def row(point: str = "lite_hrnet_18", **figures: Any) -> Row:
    """A point of 1,130,769 parameters and 205.23M (in 2^20), as some table prints it."""
    card = {"paper": "Some", "table": "1", "data": "coco", "split": "val2017", "input": "256x192", **figures}
    return compare(load_point(f"published/{point}"), validate(Figures, card, "card"))


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"params": "1.1M"}, "equal"),
        ({"params": "1.13M"}, "equal"),
        ({"params": "1.131M"}, "equal"),
        ({"params": "1.130M"}, "equal"),  # cut off, as some papers do with parameters
        ({"params": "1.132M"}, "off"),
        ({"params": "1.10M"}, "off"),
        ({"compute": "205.2M"}, "equal"),
        ({"compute": "0.200G"}, "equal"),
        ({"compute": "0.205G"}, "off"),  # a thousand of them are no G here
        ({"compute": "205.3M"}, "off"),
        ({"compute": "206M"}, "off"),
        ({"compute": "206M", "within": 1}, "within"),
        ({"compute": "206M", "within": 0.1}, "off"),
        ({"compute": "205M", "scale": "all_ops_gi"}, "off"),
        ({"compute": "266M", "scale": "all_ops"}, "equal"),
        ({"compute": "265M", "scale": "all_ops", "rounding": "down"}, "equal"),
        ({"compute": "265M", "scale": "all_ops"}, "off"),
    ],
)
def test_a_figure_is_judged_by_the_digits_it_is_printed_with(figures: dict[str, Any], verdict: str):
    assert row(**{"scale": "lite_scale", "note": "why", **figures}).verdicts == {verdict}


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
@pytest.mark.parametrize(("rounding", "way"), [("nearest", ROUND_HALF_EVEN), ("down", ROUND_DOWN)])
def test_what_decimal_arithmetic_prints_is_equal(digits: int, rounding: str, way: str):
    ours = Decimal("7.119964599609375")  # hrnet_w32's macs / 2^30, exactly
    printed = ours.quantize(Decimal(1).scaleb(-digits), way)
    compared = row("hrnet_w32", compute=f"{printed}G", scale="conv_gi", rounding=rounding).compute
    assert compared and compared.verdict == "equal"
    assert compared.difference == pytest.approx(float(100 * (ours / printed - 1)))


def test_mpii_has_sixteen_keypoints_and_a_row_without_figures_has_nothing_to_judge():
    assert row(data="mpii", params="1.1M").keypoints == 16
    assert row(ap=64.8).verdicts == set()


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"params": "1.1M", "within": 2}, "within: say in `note` why"),
        ({"compute": "205.2M"}, "compute: without `scale` it cannot be compared"),
        ({"params": "1.1M", "within": 0, "note": "why"}, "within: expected greater than 0"),
    ],
)
def test_a_card_has_to_say_enough_to_be_judged(figures: dict[str, Any], says: str):
    with pytest.raises(UserError) as caught:
        row(**figures)
    assert says in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# the table


def test_what_two_tables_print_alike_stands_once():
    own = row(params="1.1M", compute="0.28G", scale="lite_scale", within=29, note="nobody knows")
    again = own._replace(figures=own.figures.model_copy(update={"paper": "Other", "table": "README of it"}))
    other_size = row(params="1.1M", input="384x288")
    text = format_rows([own, again, other_size])
    assert [line.split() for line in text.splitlines() if "lite_hrnet_18" in line] == [
        [
            "lite_hrnet_18",
            "256x192",
            "17",
            "1.1M",
            "1.131M",
            "+2.8",
            "=",
            "0.28G",
            "0.2004G",
            "-28.4",
            "~",
            "lite_scale",
        ],
        ["lite_hrnet_18", "384x288", "17", "1.1M", "1.131M", "+2.8", "="],
    ]
    assert "    nobody knows\n    also in Other, README of it\n" in text
    assert text.endswith("5 printed figures of 1 network: 3 =, 2 ~, 0 !")


def test_the_table_names_every_paper_and_network_in_lines_of_100():
    rows = [point.values for point in PRINTED]
    papers = {figures.paper for _, figures in rows if figures.params or figures.compute}
    lines = format_rows(read_rows()).splitlines()
    assert {line.split("  ")[0] for line in lines if " input " in line} == papers
    assert {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "} == {
        point.name for point, figures in rows if figures.params or figures.compute
    }
    assert max(map(len, lines)) <= 100


def test_the_json_has_every_row_with_nothing_left_out():
    (document,) = as_json([row(params="1.1M", compute="206M", scale="lite_scale", within=1, note="why")])
    assert document["params"] == {
        "printed": "1.1M",
        "ours": 1.130769,
        "verdict": "equal",
        "difference": pytest.approx(2.797, abs=1e-3),
    }
    assert document["compute"]["verdict"] == "within" and document["note"] == "why"
    assert (document["point"], document["input"], document["keypoints"]) == ("lite_hrnet_18", "256x192", 17)
