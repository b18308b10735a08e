"""The API at one end of the flow: the only place that speaks HTTP. It can only read."""

from etl.api.access import Access, check_access
from etl.api.client import Answer, Client
from etl.api.paging import Page, metadata_filter, pages
from etl.api.providers import PROVIDERS

__all__ = [
    "PROVIDERS",
    "Access",
    "Answer",
    "Client",
    "Page",
    "check_access",
    "metadata_filter",
    "pages",
]
