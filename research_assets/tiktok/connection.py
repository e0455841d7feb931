"""The environment of a connection: proxies and certificates of an institution, as arguments of httpx.

httpx reads the same variables, but raises errors of several libraries for values that it cannot use, some of which do
not concern the connection (an IPv6 network in `NO_PROXY`). Not here: requests (see transport.py).
"""

import re
import ssl
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

_SCHEMES = ("http", "https", "socks5", "socks5h")


class ConnectionSettingsError(ValueError):
    """A proxy or a certificate file of the environment cannot be used. Nothing was sent. The message has no secret."""


def connection_options(url: str) -> dict[str, Any]:
    """Return the arguments `trust_env`, `verify` and `proxy` of an httpx client for the host of an address.

    Proxies are those of `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, except for hosts in `NO_PROXY`. Certificates are
    those of `SSL_CERT_FILE` or `SSL_CERT_DIR`, else those of httpx. A loopback address has no proxy. Raises
    ConnectionSettingsError.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    # The proxy of an institution cannot reach a server on this machine.
    if host in {"localhost", "::1"} or host.startswith("127."):
        return {"trust_env": False}
    return {"trust_env": False, "verify": _certificates(), "proxy": _proxy(parts.scheme, host)}


def _certificates() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    # OSError: a file does not exist, or contains no certificate (SSLError); ValueError: a path with a NUL character.
    except (OSError, ValueError) as error:
        raise ConnectionSettingsError(
            "The certificates cannot be read from the file or folder in SSL_CERT_FILE or SSL_CERT_DIR, or the file in "
            f"SSLKEYLOGFILE cannot be written ({_reason(error)}). No request was sent. Correct or unset the variable."
        ) from error


def _proxy(scheme: str, host: str) -> httpx.Proxy | None:
    proxies = getproxies()
    variable = f"{scheme.upper()}_PROXY" if proxies.get(scheme) else "ALL_PROXY"
    address = proxies.get(scheme) or proxies.get("all")
    if not address or _is_excluded(host, proxies.get("no", "")) or proxy_bypass(host):
        return None
    if "://" not in address:
        address = f"http://{address}"
    try:
        url = httpx.URL(address)
        if url.scheme not in _SCHEMES or not url.host or (url.port is not None and not 0 < url.port < 65536):
            raise ValueError
        return httpx.Proxy(url)
    # The error of httpx would quote the address, which may contain a password.
    except (httpx.InvalidURL, ValueError, ImportError):
        raise ConnectionSettingsError(
            f"The proxy in {variable} cannot be used: its address must begin with {', '.join(_SCHEMES[:-1])} or "
            f"{_SCHEMES[-1]}:// and name a host, and a port if any. No request was sent. Correct or unset the "
            "variable, or add the host of the API to NO_PROXY."
        ) from None


def _is_excluded(host: str, entries: str) -> bool:
    """Return whether a value of `NO_PROXY` contains a host: by name, domain (`.x`, `*.x`), address or network."""
    for entry in (part.strip().lower() for part in entries.split(",")):
        if entry == "*":
            return True
        try:
            if ip_address(host) in ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            # The host or the entry is a name.
            domain = re.sub(r":\d+$", "", entry).removeprefix("*").removeprefix(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
    return False


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)
