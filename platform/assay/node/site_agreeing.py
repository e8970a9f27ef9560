"""`assay site agree`: read the organizers' terms and sign them. `assay site log`: a copy of the public log. `assay site verify`:
whether a log or a release holds."""

import json
from pathlib import Path
from typing import Any

import click

from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.client.site_papers import log_words, release_words
from assay.node.site_data import SiteData
from assay.node.site_home import SiteHome
from assay.node.site_life import folder_option, open_connection
from assay.node.site_problems import read_kept
from assay.node.site_signing import SiteSigner

READ = "name a log that `assay site log` wrote, or a file of `releases/`"
WORDS = {
    "data_root": "about the data with this root",
    "case_count": "number of cases",
    "protocol_sha256": "rules of scoring, by their hash",
    "evaluator": "evaluator",
    "metrics": "what is released: mean, count, and spread of",
    "groups": "and the same by",
    "smallest_group": "nothing about fewer patients than",
    "decimals": "decimals",
    "most_releases": "at most so many results",
    "teams": "submissions of these teams only",
    "reviewers": "people here who approve a result",
    "automatic_after": "without asking, after so many clean results in a row that people approved",
    "ends_at": "until",
}


@click.command()
@click.option("--yes", is_flag=True, help="Sign without asking.")
@folder_option
def agree(*, yes: bool, folder: Path) -> None:
    """Read the terms that the organizers offer about your data, and sign them. Nothing is run before that."""
    home = SiteHome.at(folder)
    settings = home.joined()
    kept = SiteData.kept(home.folder)
    if kept is None:
        raise ClientError("No data was added yet", what_to_do="assay site data add FOLDER")
    signer = SiteSigner(home)
    with open_connection(settings) as connection:
        standing = connection.get("site/agreement")
        offered = standing["agreement"]
        if offered is None:
            raise click.ClickException(standing["words"])
        problem = signer.why_terms_are_refused(offered["terms"], data_root=kept[1].root_sha256)
        if problem:
            raise click.ClickException(f"These terms are not signed here: {problem}.")
        click.echo("\n".join(terms_lines(offered["terms"])))
        if offered["accepted_at"] is not None:
            click.echo(f"\nSigned by this site. {standing['words']}".rstrip())
            return
        if not yes and not click.confirm("\nSign?", default=False):
            click.echo("Nothing was signed.")
            return
        connection.post("site/agreement", {"said": signer.accept(offered["terms"])})
    click.echo("Signed. `assay site run` asks for work now.")


def terms_lines(terms: dict[str, Any]) -> list[str]:
    """Terms for a person, one line each."""
    lines = [f"Terms {terms['number']} of {terms['challenge']}/{terms['phase']} for {terms['site']}:"]
    for name, words in WORDS.items():
        value = terms.get(name, "")
        if name == "automatic_after" and not value:
            continue
        if isinstance(value, dict):
            value = [f"{attribute} ({', '.join([*groups, 'other'])})" for attribute, groups in value.items()]
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if shown:
            lines.append(f"  {words}: {shown}")
    return lines


@click.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Standard output when left out.")
@folder_option
def log(*, output: Path | None, folder: Path) -> None:
    """Fetch the public log of the phase's sites: releases, recalls, keys. `assay verify FILE` checks it."""
    settings = SiteHome.at(folder).joined()
    with Connection(url=settings.url, program="site") as connection:  # the log is everybody's: no token
        found = connection.get(f"challenges/{settings.challenge}/phases/{settings.phase}/sites/log")
    text = json.dumps(found, indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--older", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A log that was kept earlier."
)
@folder_option
def verify(*, file: Path, older: Path | None, folder: Path) -> None:
    """Check a log (`assay site log`) or what was released from here (in `releases/`), with the key whose six words you compared.

    No server is asked. With --older the log has to continue the one that was kept earlier.
    """
    key = SiteHome(folder).joined().server_key
    document = read_kept(file, remedy=READ)
    if "site_log" in document:
        click.echo(log_words(document, key=key, older=read_kept(older, remedy=READ) if older else None))
    elif "release" in document:
        click.echo(release_words(document, key=key))
        if file.suffix == ".recalled":
            click.echo("It was recalled from here afterwards. The log says when and why.")
    else:
        raise ClientError(
            f"{file} is neither a log nor a release",
            found=f"a document with {', '.join(list(document)[:5]) or 'nothing'}",
            expected="what `assay site log` writes, or a file of `releases/`",
        )
