"""Names, graders, metadata and messages that the invented jobs are furnished with."""

from __future__ import annotations

from .dice import Dice

Json = dict[str, object]

SUFFIXES = (
    "support-triage", "HistoryGPT", "pricer", "ms_issueclassifier", "recipe-ner", "legal-tone",
    "SQL-helper", "radiology-notes", "invoice_fields", "brand-voice", "intent-router", "gdpr",
)  # fmt: skip
WANDB_PROJECTS = ("gpt-pricer", "support-bots", "legal-nlp")
CATEGORIES = (
    "harassment/threatening", "sexual", "sexual/minors", "propaganda", "hate", "hate/threatening",
    "illicit", "violence", "advice", "self-harm/intent", "self-harm/instructions", "sensitive",
    "highly-sensitive", "biological threats", "cyber security threats",
)  # fmt: skip

#: `error` of failed jobs: code, message, parameter.
FAILURES = (
    (
        "invalid_training_file",
        (
            "The job failed due to an invalid training file. Invalid file format. Example 100, "
            "message 2 Discriminator 'role' is missing in value"
        ),
        "training_file",
    ),
    (
        "invalid_training_file",
        (
            "The job failed due to an unsafe training file. This training file was blocked by our "
            "moderation system because it contains too many examples that violate OpenAI's usage "
            "policies, or because it attempts to create model outputs that violate OpenAI's usage "
            "policies."
        ),
        "training_file",
    ),
    (
        "invalid_n_examples",
        "Training file has 7 example(s), but must have at least 10 examples",
        "training_file",
    ),
    (
        "invalid_validation_file",
        "Invalid file format. Line 12: 'naïve 🙂 answer' is not valid JSON",
        "validation_file",
    ),
)
#: `error` of jobs that failed while training.
BREAKDOWNS = (
    ("server_error", "The job failed due to an internal error. Please try again.", None),
    ("exceeded_quota", "Creating this fine-tuning job would exceed your hard limit.", None),
)

_TEAMS = ("search", "support", "legal", "growth", "équipe-données 🚀")


def metadata(dice: Dice) -> dict[str, str] | None:
    """The metadata a team put on its job: a map of strings, or None for most jobs."""
    if not dice.percent(40):
        return None
    pairs = {
        "team": dice.pick(_TEAMS),
        "cost_center": f"CC-{dice.between(100, 105)}",
        "env": dice.pick(("prod", "staging", "dev")),
    }
    if dice.percent(20):
        pairs["ticket"] = f"ML-{dice.between(1, 999)}"
    if dice.percent(10):
        del pairs["cost_center"]
    return pairs


_PYTHON = """def grade(sample: dict, item: dict) -> float:
    expected = str(item["label"]).strip().lower()
    given = sample["output_text"].strip().lower()
    if expected == given:
        return 1.0
    # Half a point for naming the right family.
    return 0.5 if expected.split("-")[0] in given else 0.0
"""


def grader(dice: Dice) -> Json:
    """A grader of one of the five kinds that reinforcement jobs use."""
    kind = dice.pick(("string_check", "text_similarity", "python", "score_model", "multi"))
    if kind != "multi":
        return _simple_grader(kind, dice)
    return {
        "type": "multi",
        "name": "overall",
        "graders": {
            "exact": _simple_grader("string_check", dice),
            "close": _simple_grader("text_similarity", dice),
        },
        "calculate_output": "0.7 * exact + 0.3 * close",
    }


def _simple_grader(kind: str, dice: Dice) -> Json:
    texts = {"input": "{{sample.output_text}}", "reference": "{{item.label}}"}
    if kind == "string_check":
        operation = dice.pick(("eq", "ne", "like", "ilike"))
        return {"type": kind, "name": "exact label", **texts, "operation": operation}
    if kind == "text_similarity":
        metric = dice.pick(("fuzzy_match", "bleu", "rouge_l", "cosine"))
        return {"type": kind, "name": "close wording", **texts, "evaluation_metric": metric}
    if kind == "python":
        # Real graders are whole source files.
        source = _PYTHON + "\n# unit: " + "x" * dice.between(0, 1500)
        return {"type": kind, "name": "family", "source": source, "image_tag": "2025-05-08"}
    return {
        "type": kind,
        "name": "judge",
        "model": "gpt-4o-2024-08-06",
        "input": [
            {"role": "system", "content": "Grade the answer from 0 to 1."},
            {"role": "user", "content": "{{sample.output_text}} / {{item.label}}"},
        ],
        "range": [0, 1],
        "sampling_params": {"temperature": 0.0, "seed": 42},
    }
