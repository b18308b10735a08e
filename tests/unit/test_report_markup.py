"""HTML is made of elements whose texts are escaped."""

from __future__ import annotations

from etl.report.markup import Markup, joined, shown, tag


def test_a_text_is_escaped() -> None:
    assert tag("p", "<script>alert('1') & \"2\"") == (
        "<p>&lt;script&gt;alert(&#x27;1&#x27;) &amp; &quot;2&quot;</p>"
    )


def test_an_attribute_is_escaped() -> None:
    assert tag("a", href='"><script>', class_="x") == (
        '<a href="&quot;&gt;&lt;script&gt;" class="x"></a>'
    )


def test_an_element_in_another_is_not_escaped_again() -> None:
    assert tag("p", "a & ", tag("b", "c & d")) == "<p>a &amp; <b>c &amp; d</b></p>"


def test_several_children_may_come_as_one_and_none_is_left_out() -> None:
    assert joined("a", None, ["b", ["c", Markup("<br>")]]) == "abc<br>"


def test_attributes_are_named_as_html_names_them() -> None:
    made = tag("div", aria_label="x", http_equiv="y", hidden=True, open=False, id=None)
    assert made == '<div aria-label="x" http-equiv="y" hidden></div>'


def test_an_attribute_may_be_called_name() -> None:
    assert tag("meta", name="viewport") == '<meta name="viewport">'


def test_control_characters_and_those_that_turn_text_around_are_written_out() -> None:
    assert shown("a\x00b\x1b[2J\u202ec\n") == "a\\x00b\\x1b[2J\\u202ec\\n"
