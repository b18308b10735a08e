"""A Singer tap of one stream, made with the Singer SDK.

singer_tap.py URL DATABASE first|again | <a target>
"""

from __future__ import annotations

import os
import sys
from typing import Any

import requests
from singer_sdk import RESTStream, Stream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import BaseAPIPaginator

_ANYTHING = th.ObjectType(additional_properties=True)


class LastId(BaseAPIPaginator[str | None]):
    """The cursor is the id of the last job."""

    def has_more(self, response: requests.Response) -> bool:
        """Whether the page says that there is another."""
        return bool(response.json()["has_more"])

    def get_next(self, response: requests.Response) -> str | None:
        """The next page's cursor."""
        return str(response.json()["data"][-1]["id"])


class Jobs(RESTStream[str | None]):
    """Fine-tuning jobs, as the API's description declares them."""

    name = "jobs"
    path = "/fine_tuning/jobs"
    primary_keys = ("id",)
    records_jsonpath = "$.data[*]"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, required=True),
        th.Property("object", th.StringType),
        th.Property("model", th.StringType),
        th.Property("created_at", th.IntegerType),
        th.Property("finished_at", th.IntegerType),
        th.Property("fine_tuned_model", th.StringType),
        th.Property("organization_id", th.StringType),
        th.Property("result_files", th.ArrayType(th.StringType)),
        th.Property("status", th.StringType),
        th.Property("validation_file", th.StringType),
        th.Property("training_file", th.StringType),
        th.Property("hyperparameters", _ANYTHING),
        th.Property("trained_tokens", th.IntegerType),
        th.Property("error", _ANYTHING),
        th.Property("user_provided_suffix", th.StringType),
        th.Property("seed", th.IntegerType),
        th.Property("estimated_finish", th.IntegerType),
        th.Property("integrations", th.ArrayType(_ANYTHING)),
        th.Property("metadata", _ANYTHING),
        th.Property("usage_metrics", _ANYTHING),
        th.Property("shared_with_openai", th.BooleanType),
        th.Property("eval_id", th.StringType),
        th.Property("method", _ANYTHING),
    ).to_dict()

    @property
    def url_base(self) -> str:
        """Where the API is."""
        return str(self.config["url"])

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """The key, as the API wants it."""
        return BearerTokenAuthenticator(token=os.environ["OPENAI_API_KEY"])

    def get_new_paginator(self) -> LastId:
        """How to get from page to page."""
        return LastId(None)

    def get_url_params(self, context: Any, next_page_token: str | None) -> dict[str, Any]:  # noqa: ARG002
        """The query of a page."""
        return {"limit": 100} | ({"after": next_page_token} if next_page_token else {})


class FineTuning(Tap):
    """A tap with one stream."""

    name = "tap-fine-tuning"
    config_jsonschema = th.PropertiesList(th.Property("url", th.StringType)).to_dict()

    def discover_streams(self) -> list[Stream]:
        """The streams."""
        return [Jobs(self)]


if __name__ == "__main__":
    FineTuning(config={"url": sys.argv[1]}).sync_all()
