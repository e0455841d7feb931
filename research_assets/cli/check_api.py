"""`research-assets check-api`: whether the API accepts the credentials."""

import asyncio

import click

from research_assets.cli.environment import uses_sandbox
from research_assets.clock import SystemClock
from research_assets.settings import VARIABLES, Settings, SettingsError
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import ApiError, BadCredentials, Unreachable


@click.command("check-api")
def command() -> None:
    """Check the API's address and the credentials. Fetches one token and sends no data request."""
    settings = Settings.from_env()
    if uses_sandbox(settings):
        key, secret = (VARIABLES[name].name for name in ("client_key", "client_secret"))
        raise SettingsError(
            f"No credentials: {key} and {secret} are not set, so nothing was asked of {settings.api_url}. Set both in "
            "the environment or in the file .env beside pyproject.toml. To try things out without: make ui."
        )
    server = "simulated API" if settings.origin == "sandbox" else "real API"
    click.echo(f"Address      {settings.api_url} ({server})")
    try:
        life = asyncio.run(_token_minutes(settings))
    except ApiError as error:
        click.echo(f"Server       {'not reached' if isinstance(error, Unreachable) else 'reached'}")
        click.echo(f"Credentials  {'not accepted' if isinstance(error, BadCredentials) else 'not checked'}")
        raise
    click.echo("Server       reached")
    click.echo("Credentials  accepted")
    click.echo(f"Token        fetched, good for {life} minutes")
    click.echo("Quota        untouched: no data was asked for")


async def _token_minutes(settings: Settings) -> int:
    """How long the token lasts that the API hands out now, in minutes."""
    clock = SystemClock()
    async with Client(
        key=settings.client_key,
        secret=settings.client_secret,
        base_url=settings.api_url,
        clock=clock,
        timeout=min(settings.timeout, 60),
    ) as client:
        return round(((await client.token()) - clock.now()).total_seconds() / 60)
