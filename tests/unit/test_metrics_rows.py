"""One result file becomes a row for each number in it."""

from __future__ import annotations

import base64
import csv
import io
import logging
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import RecordError
from etl.resources import metrics
from etl.simulator import World
from tests import corpus
from tests.children import Noted, made, measured, record

EXAMPLE = Path(__file__).parent.parent / "examples" / "step_metrics.csv"

Measured = dict[tuple[int, str], float]


def read(content: bytes | str, parent_id: str | None = "ftjob-1") -> tuple[Measured, Noted]:
    payload = content.encode() if isinstance(content, str) else content
    one = record(metrics.RESOURCE, payload, "file-1", parent_id)
    rows, noted = made(metrics.RESOURCE, one)
    return measured(rows), noted


SMALL = {(1, "train_loss"): 0.5, (1, "valid_loss"): 0.25, (2, "train_loss"): 0.125}


def test_a_result_file() -> None:
    one = record(metrics.RESOURCE, EXAMPLE.read_bytes(), "file-1", "ftjob-1")
    rows, noted = made(metrics.RESOURCE, one)
    common = {"job_id": "ftjob-1", "origin": "result_file", "origin_id": "file-1"}
    assert noted == []
    assert rows == {
        "training_metrics": [
            {**common, "step": 1, "name": "train_loss", "value": 3.63265},
            {**common, "step": 1, "name": "train_accuracy", "value": 0.5},
            {**common, "step": 2, "name": "train_loss", "value": 0.00006},
            {**common, "step": 2, "name": "train_accuracy", "value": 1.0},
            {**common, "step": 2, "name": "valid_loss", "value": 0.75},
            {**common, "step": 2, "name": "valid_mean_token_accuracy", "value": 0.25},
        ]
    }
    assert metrics.RESOURCE.is_final(one)


@pytest.mark.parametrize(
    "text",
    [
        "step,train_loss,valid_loss\n1,0.5,0.25\n2,0.125,\n",
        "step,train_loss,valid_loss\r\n1,0.5,0.25\r\n2,0.125,\r\n",
        "step,train_loss,valid_loss\r1,0.5,0.25\r2,0.125,\r",
        "\ufeffstep,train_loss,valid_loss\n1,0.5,0.25\n2,0.125,\n",
        "\r\n  \ufeff\nstep,train_loss,valid_loss\n\n1,0.5,0.25\n   \n2,0.125,\n\n  ",
        "step;train_loss;valid_loss\n1;0.5;0.25\n2;0.125;\n",
        "step\ttrain_loss\tvalid_loss\n1\t0.5\t0.25\n2\t0.125\t\n",
        '"step","train_loss","valid_loss"\n"1","0.5","0.25"\n"2","0.125",""\n',
        " STEP , train_loss, valid_loss\n 1 , 0.5, 0.25\n2.0,0.125, \n",
        "train_loss,Step,valid_loss\n0.5,1,0.25\n0.125,2,\n",
        "\tstep\ttrain_loss\tvalid_loss\n\t1\t0.5\t0.25\n\t2\t0.125\t\n",
        "step,train_loss,valid_loss,\n1,0.5,0.25,\n2,0.125,,\n",
        "step,train_loss,valid_loss\n1,0.5,0.25,\n2,0.125,,,\n",
        "step,train_loss,valid_loss\n1,0.5,0.25\n2,0.125\n",
        "step,train_loss,valid_loss,\n1,0.5,0.25\n2,0.125,",
        "step,train_loss,valid_loss\n2,0.125,\n1,0.5,0.25",
    ],
)
def test_one_table_in_all_its_spellings(text: str) -> None:
    assert read(text) == (SMALL, [])
    encoded = base64.b64encode(text.encode())
    assert read(encoded) == (SMALL, [])
    lines = b"\r\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
    assert read(b"\xef\xbb\xbf" + lines + b"\r\n") == (SMALL, [])


@pytest.mark.parametrize(
    "text",
    ["step,train_loss\n", "step,train_loss", "step", "\ufeffstep\r\n", "step,train_loss\n,\n"],
)
def test_a_header_without_lines_is_noted_and_no_mistake(text: str) -> None:
    assert read(text) == ({}, [("content", "missing", "empty")])
    assert read(base64.b64encode(text.encode())) == ({}, [("content", "missing", "empty")])


@pytest.mark.parametrize("text", ["", "\n", " \r\n\r\n", "\t \t\n", "\ufeff", " \ufeff\n"])
def test_an_empty_file_is_refused_because_its_answer_may_have_been_cut(text: str) -> None:
    content = text.encode()
    for sent in (content, base64.b64encode(content)):
        with pytest.raises(RecordError) as caught:
            read(sent)
        assert str(caught.value) == "the file is empty, without even a header"


def test_columns_that_nobody_knows_keep_their_names() -> None:
    text = "step,train_mean_reward,Größe,total_steps\n5,0.5,2,10\n"
    assert read(text) == (
        {(5, "train_mean_reward"): 0.5, (5, "Größe"): 2.0, (5, "total_steps"): 10.0},
        [],
    )


def test_fifty_columns() -> None:
    names = [f"m{number}" for number in range(50)]
    text = "step," + ",".join(names) + "\n7," + ",".join(map(str, range(50))) + "\n"
    found, noted = read(text)
    assert (len(found), found[7, "m49"], noted) == (50, 49.0, [])


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("nan", "out_of_range"),
        ("-inf", "out_of_range"),
        ("1e999", "out_of_range"),
        ("n/a", "wrong_type"),
        ("1_000", "wrong_type"),
        ("٣", "wrong_type"),
        ("0x1", "wrong_type"),
        ("true", "wrong_type"),
    ],
)
def test_a_cell_that_is_no_number_makes_no_row(cell: str, kind: str) -> None:
    assert read(f"step,a,b\n1,{cell},2\n") == ({(1, "b"): 2.0}, [("a", kind, cell)])


def test_every_such_cell_is_noted() -> None:
    assert read("step,a\n1,nan\n2,NaN\n3,x\n") == (
        {},
        [
            ("a", "out_of_range", "nan"),
            ("a", "out_of_range", "nan"),
            ("a", "wrong_type", "x"),
        ],
    )


def test_decimal_commas_are_read_where_they_part_no_cells() -> None:
    assert read("step;a;b\n1;0,5;-1,5e-3\n2;1.5;1.000,5\n") == (
        {(1, "a"): 0.5, (1, "b"): -0.0015, (2, "a"): 1.5},
        [
            ("a", "wrong_type", "0,5"),
            ("b", "wrong_type", "-1,5e-3"),
            ("b", "wrong_type", "-1,5e-3"),
        ],
    )
    assert read('step,a\n1,"0,5"\n') == ({}, [("a", "wrong_type", "0,5")])


@pytest.mark.parametrize(
    ("step", "noted"),
    [
        ("", ("step", "missing", "")),
        ("1.5", ("step", "wrong_type", "1.5")),
        ("one", ("step", "wrong_type", "one")),
        ("nan", ("step", "out_of_range", "nan")),
        ("9223372036854775808", ("step", "out_of_range", "9223372036854775808")),
        ("1e300", ("step", "out_of_range", "1e300")),
    ],
)
def test_a_line_of_no_step_is_left_out(step: str, noted: tuple[str, str, str]) -> None:
    assert read(f"step,a\n{step},1\n2,3\n") == ({(2, "a"): 3.0}, [noted])


def test_of_a_step_that_comes_twice_the_last_line_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "etl.resources.metrics"):
        found, noted = read("step,a,b\n1,1,1\n2,2,2\n1,3,\n2,x,4\n1.0,5,\n")
    assert found == {(1, "a"): 5.0, (2, "b"): 4.0}
    assert noted == [("a", "wrong_type", "x")]
    assert caplog.messages == ["file-1: 3 lines repeat a step, the last counts"]


def test_steps_that_only_stand_out_of_order_are_no_repeats(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "etl.resources.metrics"):
        assert read("step,a\n3,1\n1,2\n") == ({(3, "a"): 1.0, (1, "a"): 2.0}, [])
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("end", "found", "noted"),
    [
        ("3,0.5,0.7", {(3, "a"): 0.5, (3, "b"): 0.7}, []),
        ("3,0.5\n", {(3, "a"): 0.5}, []),
        ("3\n", {}, []),
        ("3,0.5", {}, [("content", "missing", "the last line is cut: 3,0.5")]),
        ("3", {}, [("content", "missing", "the last line is cut: 3")]),
        ("x\n", {}, [("step", "wrong_type", "x")]),
    ],
)
def test_a_file_that_ends_in_the_middle_of_a_line(end: str, found: Measured, noted: Noted) -> None:
    assert read("step,a,b\n2,1,1\n" + end) == ({(2, "a"): 1.0, (2, "b"): 1.0, **found}, noted)


def test_cells_without_a_column_are_noted() -> None:
    assert read("step,a\n1,2,3,,4\n") == (
        {(1, "a"): 2.0},
        [("[]", "unknown_field", "3"), ("[]", "unknown_field", "3")],
    )
    assert read("step,a,\n1,2,3\n") == ({(1, "a"): 2.0}, [("[]", "unknown_field", "3")])
    assert read(",step,a\n9,1,2\n") == ({(1, "a"): 2.0}, [("[]", "unknown_field", "9")])


def test_of_two_columns_of_one_name_the_last_counts() -> None:
    assert read("step,a,a,Step\n1,2,3,4\n") == (
        {(4, "a"): 3.0},
        [
            ("a", "unknown_field", "a second column a"),
            ("step", "unknown_field", "a second column step"),
        ],
    )


def test_names_that_no_column_takes() -> None:
    found, noted = read("step," + "n" * 256 + "," + "n" * 255 + ",a\x00\n1,2,3,4\n")
    assert found == {(1, "n" * 255): 3.0, (1, "a\ufffd"): 4.0}
    assert noted == [
        ("n" * 256, "too_long", "n" * 200),
        ("a\ufffd", "replaced_characters", "a\ufffd"),
    ]


NEITHER = "neither a table with a column `step` nor base64 of one: "


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"error": {"message": "a, step, b"}}', NEITHER + "it looks like JSON"),
        (b"<html>step,</html>", NEITHER + "it looks like HTML or XML"),
        (b"epoch,loss\n1,2\n", NEITHER + "it begins with 'epoch,loss\\n1,2\\n'"),
        (b"c3RlcCx0cmFpbl9sb3N", NEITHER + "it begins with 'c3RlcCx0cmFpbl9sb3N'"),
        (b"\x89PNG\r\n\x1a\n", NEITHER + "it is not UTF-8"),
        (
            base64.b64encode(b"epoch,train_loss\n1,2\n"),
            "base64 of no table with a column `step`: it begins with 'epoch,train_loss\\n1,2\\n'",
        ),
        (
            base64.b64encode(base64.b64encode(b"step,a\n1,2\n")),
            "base64 of no table with a column `step`: it begins with 'c3RlcCxhCjEsMgo='",
        ),
        (b"step,a\n1,2\n2,\xff\n", "the table is not UTF-8"),
        (base64.b64encode(b"step,a\xff\n1,2\n"), "the table is not UTF-8"),
        (b'step,a\n1,"2\n3,4\n', "line 3 of the table: unexpected end of data"),
        (
            b"step,a\n1," + b"5" * 200_000 + b"\n",
            "line 2 of the table: field larger than field limit (131072)",
        ),
    ],
)
def test_what_is_no_table_says_what_it_looks_like(content: bytes, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(content)
    assert str(caught.value) == reason


def test_a_file_of_no_job_is_refused() -> None:
    with pytest.raises(RecordError, match=r"^a result file belongs to a job, and nothing says"):
        read("step,a\n1,2\n", parent_id=None)


VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
NAMES = st.lists(
    st.text("abcdefghij_ é'\"-.", min_size=1, max_size=6).filter(lambda name: bool(name.strip())),
    min_size=1,
    max_size=6,
    unique_by=lambda name: name.strip(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    names=NAMES,
    lines=st.data(),
    delimiter=st.sampled_from([",", ";", "\t"]),
    ends=st.sampled_from(["\n", "\r\n"]),
    is_encoded=st.booleans(),
)
def test_whatever_the_csv_module_writes_is_read_back(
    names: list[str], lines: st.DataObject, delimiter: str, ends: str, is_encoded: bool
) -> None:
    width = len(names)
    wanted = lines.draw(
        st.dictionaries(
            st.integers(-(2**63), 2**63 - 1),
            st.lists(VALUES, min_size=width, max_size=width),
            min_size=1,
            max_size=8,
        )
    )
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ends)
    writer.writerow(["step", *names])
    writer.writerows([step, *values] for step, values in wanted.items())
    content = text.getvalue().encode()
    found, noted = read(base64.b64encode(content) if is_encoded else content)
    assert noted == []
    assert found == {
        (step, name.strip()): float(value)
        for step, values in wanted.items()
        for name, value in zip(names, values, strict=True)
        if value is not None
    }


@settings(max_examples=500, deadline=None, derandomize=True)
@given(content=st.binary(max_size=80) | st.text('step,a;\t\n\r"0123456789.é\x00', max_size=60))
def test_whatever_comes_is_read_or_refused(content: bytes | str) -> None:
    for prefix in (b"", b"step,a,b\n"):
        rest = content if isinstance(content, bytes) else content.encode()
        try:
            found, _ = read(prefix + rest)
        except RecordError:
            continue
        assert all(math.isfinite(value) for value in found.values())


# real ones


@pytest.mark.parametrize(
    ("name", "steps", "values"),
    [
        ("bptlab-fine-tuning-large-robot-model.csv", 99, 198),
        ("openai-cookbook-function-calling.csv", 309, 618),
        ("quantumapple99-historygpt.csv", 59, 236),
        ("rashmishreev-jobgpt-resume-assistant.csv", 90, 180),
        ("ronantakizawa-nmap-ai.csv", 138, 276),
    ],
)
def test_every_result_file_of_the_corpus(name: str, steps: int, values: int) -> None:
    content = (corpus.directory() / "result_files" / name).read_bytes()
    found, noted = read(content)
    assert (len({step for step, _ in found}), len(found), noted) == (steps, values, [])
    assert read(base64.b64encode(content)) == (found, [])


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_every_result_file_of_the_simulator(provider: str) -> None:
    world = World(7, 60, provider)
    kinds = set()
    for file_id, _ in world.files(None, 1000, "fine-tune-results", rising=False).items:
        content = world.file_content(file_id)
        is_plain = content.startswith(b"step,")
        table = content if is_plain else base64.b64decode(content)
        cells = [cell for line in table.splitlines()[1:] for cell in line.split(b",")[1:]]
        found, noted = read(content)
        assert (len(found), noted) == (sum(cell != b"" for cell in cells), [])
        kinds.add(is_plain)
    assert kinds == ({True, False} if provider == "openai" else {True})
