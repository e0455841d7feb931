"""`research-assets check-api`: check that the API accepts the credentials."""

import asyncio

import click

from research_assets.cli.environment import uses_sandbox
from research_assets.clock import SystemClock
from research_assets.quota.server_time import new_clock
from research_assets.settings import UI_COMMAND, VARIABLES, Settings, SettingsError, env_file
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import ApiError, BadCredentials, Unreachable


@click.command("check-api")
def command() -> None:
    """Check the API's address and the credentials. Uses no quota.

    Fetches one access token and sends no data request.
    """
    settings = Settings.from_env()
    if uses_sandbox(settings) or not settings.client_key:
        key, secret = (VARIABLES[name].name for name in ("client_key", "client_secret"))
        raise SettingsError(
            f"The check of {settings.api_url} needs credentials, but {key} and {secret} are not set. No request was "
            f"sent. Set both in the environment or in the file {env_file()}. To try the project without credentials: "
            f"{UI_COMMAND}."
        )
    server = "simulated API" if settings.origin == "sandbox" else "real API"
    click.echo(f"Address      {settings.api_url} ({server})")
    try:
        minutes, clocks = asyncio.run(_token_minutes(settings))
    except ApiError as error:
        click.echo(f"Server       {'not reached' if isinstance(error, Unreachable) else 'reached'}")
        click.echo(f"Credentials  {'not accepted' if isinstance(error, BadCredentials) else 'not checked'}")
        raise
    click.echo("Server       reached")
    click.echo("Credentials  accepted")
    click.echo(f"Token        fetched, valid for {minutes} minutes")
    click.echo(f"Clock        {clocks}")
    click.echo("Quota        unchanged: no data request was sent")


async def _token_minutes(settings: Settings) -> tuple[int, str]:
    """Return the validity of the token that the API issues now, in minutes, and a comparison of the clocks."""
    clock = new_clock(settings, SystemClock())
    async with Client(
        key=settings.client_key,
        secret=settings.client_secret,
        base_url=settings.api_url,
        clock=clock,
        timeout=min(settings.timeout, 60),
    ) as client:
        expires_at = await client.token()
        return round((expires_at - clock.now()).total_seconds() / 60), clock.summary
