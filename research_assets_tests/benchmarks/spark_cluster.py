"""A standalone Spark cluster of processes on this machine: one master and some workers, on loopback only."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

LOOPBACK = "127.0.0.1"
START_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Cluster:
    """The address of the master, and the workers. Each worker leads a process group that contains its executors."""

    master: str
    workers: list[subprocess.Popen[bytes]]

    def kill_worker(self) -> None:
        """Kill a worker and its executors with SIGKILL."""
        os.killpg(self.workers.pop().pid, signal.SIGKILL)


@contextmanager
def cluster(workers: int = 2, cores: int = 1, memory: str = "2g") -> Iterator[Cluster]:
    """Run a master and workers while the block lasts. Raises RuntimeError if they do not start."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyspark is not installed; run this with make bench-spark.")
    home = Path(spec.origin).parent
    with TemporaryDirectory(prefix="research-spark-") as folder, socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
        free.close()
        # The web pages of the master and the workers listen on this address too.
        environment = os.environ | {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": LOOPBACK,
            "PYSPARK_PYTHON": sys.executable,
        }
        master = f"spark://{LOOPBACK}:{port}"
        started: list[subprocess.Popen[bytes]] = []

        def start(name: str, *arguments: str) -> Path:
            log = Path(folder, f"{name}.log")
            command = [str(home / "bin" / "spark-class"), *arguments]
            with log.open("wb") as output:
                started.append(
                    subprocess.Popen(
                        command,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        cwd=folder,
                        env=environment,
                        start_new_session=True,
                    )
                )
            return log

        try:
            package = "org.apache.spark.deploy"
            log = start(
                "master", f"{package}.master.Master", "--host", LOOPBACK, "--port", str(port), "--webui-port", "0"
            )
            _wait_for(log, "I have been elected leader", started)
            for number in range(workers):
                options = ["--host", LOOPBACK, "--webui-port", "0", "--cores", str(cores), "--memory", memory]
                options += ["--work-dir", f"{folder}/work{number}", master]
                log = start(f"worker{number}", f"{package}.worker.Worker", *options)
                _wait_for(log, "Successfully registered with master", started)
            yield Cluster(master, started[1:])
        finally:
            for process in started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for(log: Path, line: str, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until a log contains a line."""
    deadline = monotonic() + START_SECONDS
    while line not in log.read_text(errors="replace"):
        if monotonic() > deadline or processes[-1].poll() is not None:
            raise RuntimeError(f"Spark's process did not start: {log.read_text(errors='replace')[-2000:]}")
        sleep(0.1)
