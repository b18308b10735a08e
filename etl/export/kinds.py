"""What a column holds, whichever database and driver it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Integer, Table
from sqlalchemy.types import TypeEngine

from etl.db.types import Exact, Json, UtcDateTime

_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
#: The least and the most that 64 bits hold, which is what files have for a whole number.
_LEAST, _MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Kind:
    """One kind of values: its name, and for exact decimals how many digits."""

    #: As a manifest says it.
    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"{self.name}({self.precision},{self.scale})" if self.precision else self.name

    @property
    def reads(self) -> Callable[[Any], Any]:
        """What makes one Python value, never None, of what any of the drivers gives."""
        return self._decimal if self.precision else _READS[self.name]

    def _decimal(self, value: Any) -> Decimal:
        # SQLite gives a view's figures as floats; with their shortest text they are exact again.
        said = repr(value) if isinstance(value, float) else value
        return _EXACT.create_decimal(said).quantize(Decimal(1).scaleb(-self.scale), context=_EXACT)


def _whole(value: Any) -> int:
    whole = int(value)
    if not _LEAST <= whole <= _MOST:
        message = f"{whole} has no room in 64 bits"
        raise OverflowError(message)
    return whole


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC)


_READS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "json": str,
    "integer": _whole,
    "float": float,
    "boolean": bool,
    "timestamp": _moment,
}

TEXT = Kind("text")
#: JSON as the mirror has it: the very text, so that no number changes.
JSON = Kind("json")
INTEGER = Kind("integer")
FLOAT = Kind("float")
BOOLEAN = Kind("boolean")
#: A moment in UTC, to the microsecond.
MOMENT = Kind("timestamp")
#: Dollars with six decimals, as the views have them.
DOLLARS = Kind("decimal", 20, 6)
#: What was billed, with all digits that are kept of it.
BILLED = Kind("decimal", 38, 20)


def of_table(table: Table) -> dict[str, Kind]:
    """The kind of each column of a declared table, in its order."""
    return {column.name: _of_type(column.type) for column in table.columns}


def _of_type(declared: TypeEngine[Any]) -> Kind:
    for types, kind in (
        ((UtcDateTime,), MOMENT),
        ((Json,), JSON),
        ((Exact,), BILLED),
        ((Boolean,), BOOLEAN),
        ((BigInteger, Integer), INTEGER),
        ((Double,), FLOAT),
    ):
        if isinstance(declared, types):
            return kind
    return TEXT


#: Columns of views, which no database types alike; what is in none of these is text. A name means
#: one thing in all views, but for those that `OF_VIEW` names.
_BY_NAME: dict[Kind, str] = {
    INTEGER: """
        age_seconds billed_nano billed_other_nano billed_training_nano checkpoints_count
        cost_microusd depth estimated_nano events_count amount_nano jobs last_run_id metadata_count
        open_jobs open_quarantine per_quantity quantity queue_seconds result_files_count run_id
        run_seconds seed sequence step step_number total_seconds trained_tokens unpriced_jobs
        version versions_count
    """,
    FLOAT: """
        batch_size beta compute_multiplier eval_interval eval_samples full_valid_loss
        full_valid_mean_reward full_valid_mean_token_accuracy learning_rate_multiplier loss n_epochs
        train_loss train_mean_reward train_mean_token_accuracy valid_loss
        valid_mean_token_accuracy
    """,
    BOOLEAN: "is_current is_missing shared_with_openai",
    MOMENT: """
        created_at estimated_finish finished_at last_run_at last_success_at missing_since
        observed_at recorded_at spent_at started_at
    """,
    DOLLARS: "billed_other billed_training cost_usd difference estimated price_usd uncertain_usd",
    BILLED: "amount",
    TEXT: """
        base_model certainty changed_fields checkpoint_id currency day error_code error_message
        error_param eval_id fine_tuned_model fine_tuned_model_checkpoint id_space job_id kind
        last_error last_event_message last_status line_item loss_name method_type model month name
        organization_id origin origin_id parent_job_id parent_model price_confidence project_id
        project_name provider quantity_unit reason reasoning_effort resource source spent_in
        spent_on status training_file unit user_provided_suffix validation_file value
    """,
}
_KIND_OF = {name: kind for kind, names in _BY_NAME.items() for name in names.split()}
OF_VIEW: dict[tuple[str, str], Kind] = {("billed_line_items", "quantity"): FLOAT}


def of_view(view: str, column: str) -> Kind | None:
    """The kind of a view's column; None for one that is not declared above."""
    return OF_VIEW.get((view, column)) or _KIND_OF.get(column)
