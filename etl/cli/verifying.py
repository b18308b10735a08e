"""`ftmirror verify`: proof that the mirror holds what the API lists, or what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from etl.cli import database, output, progress
from etl.cli.choices import require_a_key
from etl.cli.options import Context, command
from etl.cli.output import wrapped

if TYPE_CHECKING:
    from etl.comparing import Comparison
    from etl.verify import Certificate, Proof

#: Ids that the text shows of each kind of difference; the JSON shows all.
SHOWN = 20
EXIT_CODES = {"equal": 0, "failed": 1, "partial": 3, "differs": 5}

_KINDS = (
    ("missing_here", "missing here"),
    ("only_here", "only here"),
    ("differing", "differing"),
    ("marked_missing", "listed, but marked missing"),
    ("quarantined", "quarantined"),
)


@command(
    "verify",
    example="""
    ftmirror verify
    ftmirror verify --children 25 --json
    """,
)
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source. Repeatable."
)
@click.option(
    "--children",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Compare the events and checkpoints of N jobs of each source, too.",
)
@click.option(
    "--seed", metavar="TEXT", help="Which N jobs: the same seed takes the same (else the day)."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Answer with one JSON object, every id in it."
)
def verify(
    context: Context,
    *,
    sources: Sequence[str],
    children: int,
    seed: str | None,
    as_json: bool,
) -> int:
    """Prove that the mirror is complete.

    Lists all jobs through the API and compares them with the mirror. Writes nothing. Exit code 0:
    equal. 5: they differ. 3: a source could not be read. 1: none could.
    """
    from etl import verify as verifying

    chosen = context.settings.chosen(sources)
    require_a_key(chosen)
    with database.for_reading(context) as engine, progress.shown(context) as step:
        found = verifying.verify(engine, chosen, step, children=children, seed=seed)
    if as_json:
        answer = found.as_json()
        for one in answer["sources"]:
            one["error"] = one["error"] and context.mask(one["error"])
        output.json(answer)
    else:
        output.data("\n".join(_certificate(found, context.mask)))
    return EXIT_CODES[found.verdict]


def _certificate(found: Certificate, mask: Callable[[str], str]) -> Iterator[str]:
    yield from wrapped(f"{found.verdict.upper()}: {found.sentence}")
    yield from wrapped(f"compared on {found.when:%Y-%m-%d at %H:%M:%S} UTC")
    for proof in found.proofs:
        yield ""
        yield from wrapped(f"source {proof.source}: {proof.verdict}")
        if proof.error is not None:
            yield from wrapped(mask(proof.error), "  ")
        if proof.jobs is not None:
            yield from _jobs(proof, proof.jobs)
        if proof.sampled:
            yield from _children(proof, found.seed)


def _jobs(proof: Proof, found: Comparison) -> Iterator[str]:
    requests = "1 request" if proof.requests == 1 else f"{proof.requests:,} requests"
    yield f"  {'jobs listed by the API':28}{found.listed:>12,}  in {requests}"
    yield f"  {'jobs in the mirror':28}{found.mirrored:>12,}"
    yield f"  {'equal':28}{found.equal:>12,}"
    yield from _differences(found, "  ", always=True)
    yield "  sha256 of the ids, sorted, with a newline between two"
    yield f"    listed  {proof.sha256_listed}"
    yield f"    mirror  {proof.sha256_mirror}"


def _children(proof: Proof, seed: str) -> Iterator[str]:
    jobs = "1 job" if len(proof.sampled) == 1 else f"{len(proof.sampled):,} jobs"
    yield from wrapped(f"children of {jobs}, sampled with seed {seed}", "  ")
    for name, one in proof.children.items():
        head = f"{one.listed:,} listed, {one.mirrored:,} in the mirror, {one.equal:,} equal"
        yield from wrapped(f"{name}: {head}", "    ")
        yield from _differences(one, "      ", always=False)
    if proof.absent:
        lists = "1 list" if proof.absent == 1 else f"{proof.absent:,} lists"
        yield f"    not compared, for the API says there is no such thing: {lists}"


def _differences(found: Comparison, indent: str, *, always: bool) -> Iterator[str]:
    width = 30 - len(indent)
    for name, said in _KINDS:
        ids: list[str] = getattr(found, name)
        if not ids and (not always or name in ("marked_missing", "quarantined")):
            continue
        yield f"{indent}{said:{width}}{len(ids):>12,}"
        for one in ids[:SHOWN]:
            yield from wrapped(one, f"{indent}  ")
        if len(ids) > SHOWN:
            yield f"{indent}  and {len(ids) - SHOWN:,} more; --json names them all"
