"""Tools of the benchmarks: temporary data folders, a sandbox in its own process, and measured child processes."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, child_environment, prepare_root
from research_assets_tests.conftest import UNREACHABLE_URL


@contextmanager
def data_root(url: str = UNREACHABLE_URL, **values: float | str) -> Iterator[Settings]:
    """Yield settings for a prepared, temporary data folder. `values` are fields of `Settings`."""
    with TemporaryDirectory(prefix="research-bench-") as folder:
        texts = {"client_key": "sandbox-key", "client_secret": "sandbox-secret", "api_url": url}
        texts |= {"root": f"{folder}/data"} | {name: str(value) for name, value in values.items()}
        settings = Settings.from_env({VARIABLES[name].name: text for name, text in texts.items()})
        prepare_root(settings)
        yield settings


@contextmanager
def study_folder(attributes: str, name: str = "garden") -> Iterator[str]:
    """Yield a folder with one study file, for the setting `studies`. `attributes` are YAML without the name."""
    with TemporaryDirectory(prefix="research-bench-") as folder:
        file = Path(folder, name, "defs.yaml")
        file.parent.mkdir()
        file.write_text(f"type: research_assets.Study\nattributes:\n  name: {name}\n  {attributes.strip()}\n")
        yield folder


@contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """Run a sandbox in its own process and yield its address. It has no limits unless `options` set them."""
    command = [sys.executable, "-m", "research_assets.sandbox", "--port", "0", "--profile", "clean"]
    command += ["--quota", "1000000000", "--rate", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if "TIKTOK_API_URL=" in line:
                    yield line.split("=")[1].strip()
                    return
            raise RuntimeError("The sandbox did not start; see its output above.")
        finally:
            server.terminate()


def collect(settings: Settings, study: str, entity: str, first: date, days: int) -> dict[str, Any]:
    """Collect in a child process. Return rows, requests, seconds, states, `paused` and the peak memory in MiB."""
    return collect_together(settings, [study], entity, first, days)[0]


def collect_together(
    settings: Settings, studies: Sequence[str], entity: str, first: date, days: int
) -> list[dict[str, Any]]:
    """Collect several studies concurrently, each in its own child process, and return their results."""
    environment = child_environment(settings)
    processes = []
    for study in studies:
        command = [sys.executable, "-m", f"{__package__}.worker", study, entity, str(first), str(days)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR, env=environment))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError("A collecting process failed; see its output above.")
    return [json.loads(output) for output in outputs]
