"""The world's own clock, and the days on which the API changed. All times are unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

DAY = 86_400
HOUR = 3_600


def day(text: str) -> int:
    """Midnight UTC of a date written YYYY-MM-DD, in unix seconds."""
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())


#: What time it is in every new world; the machine's clock is never asked.
NOW = day("2026-11-20")
#: The first fine-tuning jobs of the new kind.
START = day("2023-08-22")

ERROR_KEY = day("2023-09-11")
THREE_HYPERPARAMETERS = day("2023-10-15")
RESULTS_ENCODED = day("2024-01-01")
SUFFIX_KEY = day("2024-02-01")
EMPTY_ERROR = day("2024-03-01")
SEED = day("2024-04-09")
ESTIMATED_FINISH = day("2024-04-30")
PLAIN_MODEL_EVENT = day("2024-12-01")
METHOD = day("2024-12-18")
SHORT_FILE_IDS = day("2024-12-18")
METADATA = day("2025-03-11")
REINFORCEMENT = day("2025-05-08")
MODERATION_EVENTS = day("2025-09-01")
INTERNAL_KEYS = day("2026-01-15")

#: Since when which snapshot could be trained, oldest first.
MODELS = (
    (START, "gpt-3.5-turbo-0613"),
    (START, "babbage-002"),
    (START, "davinci-002"),
    (day("2023-11-06"), "gpt-3.5-turbo-1106"),
    (day("2024-01-25"), "gpt-3.5-turbo-0125"),
    (day("2024-07-23"), "gpt-4o-mini-2024-07-18"),
    (day("2024-08-20"), "gpt-4o-2024-08-06"),
    (day("2025-04-14"), "gpt-4.1-2025-04-14"),
    (day("2025-04-14"), "gpt-4.1-mini-2025-04-14"),
    (day("2025-05-05"), "gpt-4.1-nano-2025-04-14"),
)
#: The only model trained by reinforcement.
REINFORCED = "o4-mini-2025-04-16"
