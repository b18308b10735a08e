"""Which paths can be read, and how their values are put in."""

from __future__ import annotations

import pytest

from etl.api import paths


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/fine_tuning/jobs", "/fine_tuning/jobs"),
        ("/fine_tuning/jobs/ftjob-1", "/fine_tuning/jobs/{job_id}"),
        ("/fine_tuning/jobs/ftjob-1/events", "/fine_tuning/jobs/{job_id}/events"),
        ("/fine_tuning/jobs/ftjob-1/checkpoints", "/fine_tuning/jobs/{job_id}/checkpoints"),
        ("/files", "/files"),
        ("/files/file-1", "/files/{file_id}"),
        ("/files/file-1/content", "/files/{file_id}/content"),
        ("/organization/costs", "/organization/costs"),
        ("/organization/projects", "/organization/projects"),
        ("/fine_tuning/jobs/{id}/events", "/fine_tuning/jobs/{job_id}/events"),
    ],
)
def test_known_paths_are_found(path: str, template: str) -> None:
    """A filled path finds its endpoint; so does a template with another placeholder."""
    assert paths.find(path).template == template


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/models",
        "fine_tuning/jobs",
        "/fine_tuning/jobs/",
        "/fine_tuning/jobs?limit=1",
        "/fine_tuning/jobs/ftjob-1/cancel",
        "/fine_tuning/jobs/ftjob-1/events/extra",
        "/fine_tuning/jobs/../files",
        "/files/..",
        "/files/.",
        "/files/../content",
        "/files/a b",
        "/files/%zz",
        "/files/file-1\n",
        "//evil.example/fine_tuning/jobs",
        "/fine_tuning/checkpoints/ft:m:o::1/permissions",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    """What is not in the table, or could become another path, is an error of the caller."""
    with pytest.raises(ValueError, match="not a known path"):
        paths.find(path)


def test_values_are_percent_encoded() -> None:
    """Colons, slashes and question marks in a name stay in their place."""
    template = "/fine_tuning/checkpoints/{model}/permissions"
    filled = paths.fill(template, "ft:gpt-4o:acme::9uJP:ckpt-step-100/?")
    assert filled == (
        "/fine_tuning/checkpoints/ft%3Agpt-4o%3Aacme%3A%3A9uJP%3Ackpt-step-100%2F%3F/permissions"
    )
    assert paths.find(filled).key == "admin"


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_values_that_no_path_can_hold_are_refused(value: str) -> None:
    """A dot segment would be resolved to another path on the way."""
    with pytest.raises(ValueError, match="cannot be part of a path"):
        paths.fill("/files/{id}", value)


def test_the_number_of_values_must_fit() -> None:
    """A template is never sent half filled."""
    with pytest.raises(ValueError, match="takes 1 values, not 0"):
        paths.fill("/files/{id}")


def test_the_table_of_lists() -> None:
    """Page sizes, cursors and keys, literally."""
    assert {
        endpoint.template: (endpoint.key, endpoint.cursor, endpoint.page_size, endpoint.params)
        for endpoint in paths.ENDPOINTS.values()
        if endpoint.cursor
    } == {
        "/fine_tuning/jobs": ("project", "after", 100, ()),
        "/fine_tuning/jobs/{job_id}/events": ("project", "after", 100, ()),
        "/fine_tuning/jobs/{job_id}/checkpoints": ("project", "after", 100, ()),
        "/fine_tuning/checkpoints/{model}/permissions": ("admin", "after", 100, ()),
        "/files": ("project", "after", 1000, ()),
        "/organization/costs": ("admin", "page", 180, ()),
        "/organization/projects": ("admin", "after", 100, (("include_archived", "true"),)),
    }
