"""The question that a chart asks, made from its parameters as Superset's pages make it.

    python -m bi.contexts

writes it into each chart of the bundle: a chart without one answers nothing to the API until
somebody has opened and saved it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bi import bundle

_SERIES = tuple(f"echarts_timeseries_{kind}" for kind in ("bar", "line", "scatter"))


def query_context(params: Mapping[str, Any]) -> dict[str, Any]:
    """The body for `/api/v1/chart/data`; whose data it is, is set at import.

    Raises ValueError for a kind of chart that is not known here.
    """
    kind = params["viz_type"]
    if kind == "big_number_total":
        asked = _asked([], [params["metric"]])
    elif kind in _SERIES:
        metrics, groupby = list(params["metrics"]), list(params["groupby"])
        asked = _asked([_axis(params["x_axis"]), *groupby], metrics)
        asked |= {"series_columns": groupby, "orderby": [[metrics[0], False]]}
    elif kind == "table":
        asked = _table(params)
    elif kind == "bubble_v2":
        asked = _asked(
            [params["entity"], params["series"]], [params["x"], params["y"], params["size"]]
        )
    else:
        raise ValueError(f"no question is known for a chart of the kind {kind!r}")
    asked |= {"filters": [], "extras": {"having": "", "where": _where(params)}}
    if "row_limit" in params:
        asked["row_limit"] = params["row_limit"]
    return {
        "datasource": {"id": 0, "type": "table"},
        "force": False,
        "queries": [asked],
        "form_data": dict(params),
        "result_format": "json",
        "result_type": "full",
    }


def _asked(columns: list[Any], metrics: list[str] | None) -> dict[str, Any]:
    given = {"columns": columns, "orderby": [], "annotation_layers": []}
    return given if metrics is None else {**given, "metrics": metrics}


def _axis(name: str) -> dict[str, str]:
    return {
        "columnType": "BASE_AXIS",
        "expressionType": "SQL",
        "label": name,
        "sqlExpression": name,
    }


def _table(params: Mapping[str, Any]) -> dict[str, Any]:
    if params["query_mode"] == "raw":
        asked = _asked(list(params["all_columns"]), None)
        return asked | {"orderby": [json.loads(one) for one in params["order_by_cols"]]}
    asked = _asked(list(params["groupby"]), list(params["metrics"]))
    return asked | {"orderby": [[params["timeseries_limit_metric"], not params["order_desc"]]]}


def _where(params: Mapping[str, Any]) -> str:
    """The chart's conditions, each of which is plain SQL here."""
    return " AND ".join(f"({one['sqlExpression']})" for one in params["adhoc_filters"])


def main() -> None:
    """Write every chart's question anew."""
    for path, chart in bundle.charts().items():
        text = json.dumps(query_context(chart["params"]), indent=1)
        bundle.write(path, {**chart, "query_context": text})


if __name__ == "__main__":
    main()
