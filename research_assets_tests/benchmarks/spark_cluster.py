"""Spark on this machine, on loopback only: a standalone cluster of a master and workers, or a Thrift server."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True, slots=True)
class _Processes:
    """Spark's processes in a folder, in the order of their start. Each leads a process group."""

    folder: str
    started: list[subprocess.Popen[bytes]]

    def start(self, name: str, line: str, *arguments: str) -> None:
        """Run `spark-class` and wait until its log contains a line. Raises RuntimeError if it ends before."""
        home = _spark_home()
        log = Path(self.folder, f"{name}.log")
        # The web pages of the processes listen on this address too.
        environment = os.environ | {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": LOOPBACK,
            "PYSPARK_PYTHON": sys.executable,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(home / "bin" / "spark-class"), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        self.started.append(process)
        deadline = monotonic() + START_SECONDS
        while line not in (text := log.read_text(errors="replace")):
            if monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"Spark's process did not start: {text[-2000:]}")
            sleep(0.1)


@contextmanager
def _processes() -> Iterator[_Processes]:
    """Yield a folder for processes, and kill them at the end."""
    with TemporaryDirectory(prefix="research-spark-") as folder:
        processes = _Processes(folder, [])
        try:
            yield processes
        finally:
            for process in processes.started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def cluster(workers: int = 2, cores: int = 1, memory: str = "2g") -> Iterator[Cluster]:
    """Run a master and workers while the block lasts. Raises RuntimeError if they do not start."""
    package, port = "org.apache.spark.deploy", _free_port()
    master = f"spark://{LOOPBACK}:{port}"
    with _processes() as processes:
        options = ["--host", LOOPBACK, "--port", str(port), "--webui-port", "0"]
        processes.start("master", "I have been elected leader", f"{package}.master.Master", *options)
        for number in range(workers):
            options = ["--host", LOOPBACK, "--webui-port", "0", "--cores", str(cores), "--memory", memory]
            options += ["--work-dir", f"{processes.folder}/work{number}", master]
            registered = "Successfully registered with master"
            processes.start(f"worker{number}", registered, f"{package}.worker.Worker", *options)
        yield Cluster(master, processes.started[1:])


@contextmanager
def thrift_server(conf: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run a Thrift server with its own session while the block lasts; yield its host and port."""
    port = _free_port()
    with _processes() as processes:
        settings = {
            "spark.master": "local[2]",
            "spark.ui.enabled": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.warehouse.dir": f"{processes.folder}/warehouse",
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
        } | dict(conf)
        options = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        hive = [
            "--hiveconf",
            f"hive.server2.thrift.port={port}",
            "--hiveconf",
            f"hive.server2.thrift.bind.host={LOOPBACK}",
        ]
        server = ["--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"]
        submit = ["org.apache.spark.deploy.SparkSubmit", *server, *options, "spark-internal", *hive]
        processes.start("thrift", "ThriftBinaryCLIService on port", *submit)
        yield LOOPBACK, port


def _spark_home() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyspark is not installed; run this with make bench-spark or make test-spark.")
    return Path(spec.origin).parent


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
        return port
