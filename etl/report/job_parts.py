"""The parts of the page that tell how jobs went, and how fresh the mirror is."""

from __future__ import annotations

from collections.abc import Callable

from etl.report import charts
from etl.report.figures import OUTCOMES, Figures, Times, Training, months_between
from etl.report.job_queries import REWARDS
from etl.report.markup import Child, Markup, tag
from etl.report.pieces import (
    LINES,
    MONTH_LINES,
    MONTHS,
    Part,
    at,
    cut_note,
    figure_of,
    jobs_text,
    length,
    measure,
    model_name,
    money,
    nothing,
    part,
    short,
    table_of,
)

#: Characters of what a job was told.
MESSAGE = 240
#: Steps of a training in its table.
STEPS = 20


OUTCOME_COLOURS = {"succeeded": 0, "failed": 3, "cancelled": 1, "open": -1}


CURVE_NAMES = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "full_valid_loss": "full validation loss",
    "train_mean_reward": "training reward",
    "full_valid_mean_reward": "validation reward",
}


#: Colours of the curves of one training, in the order of their names: training, validation, whole.
CURVE_COLOURS = {
    "train_loss": 0,
    "valid_loss": 1,
    "full_valid_loss": 2,
    "train_mean_reward": 0,
    "full_valid_mean_reward": 3,
}


ORIGINS = {
    "result_file": "the job's result file",
    "event": "the job's events",
    "checkpoint": "the job's checkpoints",
}


def outcomes(figures: Figures) -> Part:
    """How many jobs came to each end, by month."""
    title = "Jobs by outcome"
    sentence = (
        "How many jobs came to each end, by the UTC month in which they ended; those that are "
        "open, or whose status is not known, stand in the month in which they began."
    )
    found = figures.spend.outcomes
    if not found:
        return part("outcomes", title, sentence, nothing("No job is mirrored for these days."))
    known = sorted({month for month, _ in found})
    drawn = months_between(known, MONTHS)
    names = [name for name in OUTCOMES if any(one == name for _, one in found)]
    totals = {name: sum(n for (_, one), n in found.items() if one == name) for name in names}
    rows = [
        {"month": month, "name": name, "value": found[month, name]}
        for month in drawn
        for name in names
        if (month, name) in found
    ]
    lines = [
        [
            month,
            *[f"{found.get((month, name), 0):,}" for name in names],
            f"{sum(found.get((month, name), 0) for name in names):,}",
        ]
        for month in reversed(known)
    ]
    said = ", ".join(f"{count:,} {name}" for name, count in totals.items())
    colours = [OUTCOME_COLOURS[name] for name in names]
    figure = figure_of(
        f"Stacked bars of jobs by month from {drawn[0]} to {drawn[-1]}: {said}.",
        charts.stacked(rows, drawn, names, colours, "count"),
        legend=list(zip(names, colours, strict=True)),
        table=table_of(
            title,
            ["Month", *[name.capitalize() for name in names], "All"],
            lines,
            foot=["All", *[f"{totals[name]:,}" for name in names], f"{sum(totals.values()):,}"],
            most=MONTH_LINES,
        ),
        note=cut_note(known, drawn),
    )
    return part("outcomes", title, sentence, figure)


def durations(figures: Figures) -> Part:
    """How long jobs took and waited, by month."""
    title = "How long jobs took"
    sentence = (
        "Of jobs that succeeded, by the UTC month in which they ended: the median, and the time "
        "within which nine of ten were done. Queued is from creation to the event that says that "
        "training began, trained is from then to the end."
    )
    times = figures.times
    if not times:
        said = "No job of these days succeeded whose events say when its training began."
        return part("times", title, sentence, nothing(said))
    return part(
        "times",
        title,
        sentence,
        tag("h3", "Trained"),
        _time_figure("Time in training", times, lambda one: one.run, (0, 4)),
        tag("h3", "Queued"),
        _time_figure("Time in the queue", times, lambda one: one.queue, (3, 1)),
    )


def _time_figure(
    title: str,
    times: dict[str, Times],
    of: Callable[[Times], tuple[int, int] | None],
    colours: tuple[int, int],
) -> Markup:
    found = {month: pair for month, one in times.items() if (pair := of(one)) is not None}
    if not found:
        return nothing("No event says it.")
    drawn = months_between(sorted(found), MONTHS)
    longest = max(most for _, most in found.values())
    unit, seconds = ("hours", 3600) if longest >= 3 * 3600 else ("minutes", 60)
    names = ["median", "nine of ten"]
    rows = [
        {"month": month, "name": name, "value": value / seconds}
        for month in drawn
        if month in found
        for name, value in zip(names, found[month], strict=True)
    ]
    lines = [
        [month, f"{times[month].jobs:,}", *[length(value) for value in pair]]
        for month, pair in sorted(found.items(), reverse=True)
    ]
    last = max(found)
    return figure_of(
        f"Lines of {title.lower()} by month, in {unit}; in {last} the median was "
        f"{length(found[last][0])}, and nine of ten were within {length(found[last][1])}.",
        tag("p", unit.capitalize(), class_="unit"),
        charts.lines(rows, drawn, names, colours, "number"),
        legend=list(zip(names, colours, strict=True)),
        table=table_of(
            title, ["Month", "Jobs", "Median", "Nine of ten within"], lines, most=MONTH_LINES
        ),
        note=cut_note(sorted(found), drawn),
    )


def curves(figures: Figures) -> Part:
    """Training curves of some jobs."""
    title = "How trainings went"
    sentence = (
        "The most expensive training of each of three models, and the latest ones: loss by step, "
        "where less is better; for reinforcement the reward, where more is. The diamond is the "
        "checkpoint with the lowest validation loss, or training loss where there is no other."
    )
    if not figures.trainings:
        said = "No job of these days has measurements; `ftmirror sync` reads them with the jobs."
        return part("curves", title, sentence, nothing(said))
    cards = [_training(one) for one in figures.trainings]
    return part("curves", title, sentence, tag("div", cards, class_="cards"))


def _training(one: Training) -> Markup:
    best = one.best
    names = [CURVE_NAMES[curve.name] for curve in one.curves]
    legend = [(CURVE_NAMES[curve.name], CURVE_COLOURS[curve.name]) for curve in one.curves]
    mark = None
    said: Child = None
    if best is not None and best.step is not None:
        mark = (best.step, best.loss)
        kind = CURVE_NAMES.get(best.loss_name, best.loss_name)
        said = tag(
            "p",
            tag("span", class_="diamond", aria_hidden="true"),
            f" Best checkpoint: step {best.step:,}, {kind} {measure(best.loss)}",
            [", ", tag("code", short(best.model, 80))] if best.model else None,
        )
    elif one.curves[0].name in REWARDS:
        said = tag("p", "Checkpoints of reinforcement name no loss, so none is marked.")
    steps = sorted({step for curve in one.curves for step, _ in curve.points})
    every = max(1, -(-len(steps) // STEPS))
    shown = sorted(
        {*steps[::every], steps[-1], *([best.step] if best and best.step in steps else [])}
    )
    values = [dict(curve.points) for curve in one.curves]
    rows = [
        [f"{step:,}", *["" if step not in of else measure(of[step]) for of in values]]
        for step in shown
    ]
    label = (
        f"Lines of {' and '.join(names)} over {steps[-1]:,} steps"
        + (f", best at step {best.step:,}" if mark and best and best.step is not None else "")
        + "."
    )
    return tag(
        "article",
        tag("h3", short(one.job.suffix, 40) if one.job.suffix else model_name(one.job.base_model)),
        tag(
            "p",
            f"{model_name(one.job.base_model)}, {one.job.method or 'method not named'}, "
            f"{one.job.spent_at:%Y-%m-%d}, {money(one.job.microusd)}",
            tag("br"),
            tag("code", short(one.job.job_id, 80)),
            class_="about",
        ),
        said,
        figure_of(
            label,
            charts.training(
                [(CURVE_COLOURS[curve.name], curve.points) for curve in one.curves], mark
            ),
            legend=legend,
            table=table_of(
                f"Steps of {one.job.job_id}",
                ["Step", *[name.capitalize() for name in names]],
                rows,
                most=STEPS * 2,
            ),
            note=f"From {ORIGINS.get(one.origin, one.origin)}.",
        ),
        class_="card",
    )


def failures(figures: Figures) -> Part:
    """Jobs that failed or were cancelled, by reason."""
    title = "What went wrong"
    sentence = (
        "Failed and cancelled jobs by the error code that the API gave, with what the last of them "
        "was told."
    )
    found = sorted(figures.failures.items(), key=lambda item: (-item[1].jobs, item[0]))
    if not found:
        said = "No job of these days failed or was cancelled."
        return part("failures", title, sentence, nothing(said))
    rows = [
        {
            "name": _reason(status, code),
            "value": one.jobs,
            "label": f"{one.jobs:,}",
            "series": OUTCOME_COLOURS.get(status, -1),
        }
        for (status, code), one in found[:12]
    ]
    lines = [
        [
            _reason(status, code),
            short(status),
            f"{one.jobs:,}",
            f"{one.tokens:,}",
            short(one.message, MESSAGE),
        ]
        for (status, code), one in found
    ]
    total = sum(one.jobs for _, one in found)
    figure = figure_of(
        f"Bars of {jobs_text(total)} that failed or were cancelled, by reason; most often "
        f"{rows[0]['name']}, {rows[0]['label']} times.",
        charts.bars(rows),
        legend=[
            (status, OUTCOME_COLOURS[status])
            for status in ("failed", "cancelled")
            if any(of == status for (of, _), _ in found)
        ],
        table=table_of(
            title,
            ["Reason", "Status", "Jobs", "Trained tokens", "What the last one was told"],
            lines,
            foot=["All", "", f"{total:,}", f"{sum(one.tokens for _, one in found):,}", ""],
            numbers=(2, 3),
            most=LINES,
        ),
    )
    return part("failures", title, sentence, figure)


def _reason(status: str, code: str) -> str:
    if code:
        return short(code)
    return "cancelled" if status == "cancelled" else f"{short(status)}, no code"


def freshness(figures: Figures) -> Part:
    """When what was last in step."""
    title = "How fresh this is"
    sentence = (
        "When a sync last brought each part of the mirror in step; what lies in quarantine is in "
        "no figure above."
    )
    if not figures.health:
        said = "No sync has run: what is here was imported, or nothing is."
        return part("fresh", title, sentence, nothing(said))
    lines = [
        [
            short(one.source),
            short(one.resource),
            "never" if one.last_success_at is None else at(one.last_success_at),
            short(one.last_status) if one.last_status else "",
            f"{one.quarantined:,}",
        ]
        for one in figures.health
    ]
    table = table_of(
        title,
        ["Source", "Resource", "Last in step", "Last run", "In quarantine"],
        lines,
        numbers=(4,),
        most=100,
    )
    return part("fresh", title, sentence, table)
