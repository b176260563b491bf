"""What only S3 can do wrong: a bucket that is away, silent, missing, full, or that doesn't know us."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from disks import files_of_at_most
from e2e.process import PATIENCE_S, until
from open_files import open_files
from stores import BUCKET, S3Server

from models_registry.errors import Invalid, NoRoom, RegistryError, Unavailable
from models_registry.storage import s3
from models_registry.storage.blobs import BlobStore, open_blob_store

SECONDS = 60.0
"""Far more than it should take, as the cores may be busy, and far less than a caller would wait for nothing."""

WEIGHTS = sha256(b"weights").hexdigest()
HOUR = timedelta(hours=1)


METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
EMPTY = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


class Pretender:
    """A bucket that is empty, and answers each method as it is told from then on: status and code."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        method = request.command
        self.asked.append(method)
        request.rfile.read(int(request.headers.get("content-length", 0)))
        status, code = self.answers.get(method, (200, ""))
        body = (f"<Error><Code>{code}</Code><Message>As told.</Message></Error>" if code else EMPTY).encode()
        request.send_response(status)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        if method != "HEAD":
            request.wfile.write(body)


@pytest.fixture
def pretender() -> Pretender:
    return Pretender()


@pytest.fixture
def store_of_pretender(pretender: Pretender, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: object = "", size: object = "") -> None:
            pass

    def answer(request: BaseHTTPRequestHandler) -> None:
        pretender.answer(request)

    for method in METHODS:
        setattr(Handler, f"do_{method}", answer)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "anything")
    monkeypatch.setitem(s3.RETRIES, "max_retries", 3)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield open_blob_store("s3://blobs/prefix", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


@pytest.fixture
def store(s3_url: str) -> BlobStore:
    return open_blob_store(s3_url)


def every_call(store: BlobStore) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: store.put(b"weights"),
        "put in parts": lambda: store.put(bytes(s3.PART_BYTES + 1)),
        "get": lambda: store.get(WEIGHTS),
        "delete_older": lambda: store.delete_older(WEIGHTS, datetime.now(UTC)),
        "list_blobs": lambda: list(store.list_blobs()),
        "sweep_partials": lambda: store.sweep_partials(datetime.now(UTC)),
        "ping": store.ping,
    }


def refusals(store: BlobStore, wanted: type[RegistryError]) -> dict[str, str]:
    """What each call says, all of them made at once and answered within seconds."""
    with ThreadPoolExecutor(16) as pool:
        calls = {name: pool.submit(call) for name, call in every_call(store).items()}
        errors = {name: result.exception(SECONDS) for name, result in calls.items()}
    assert {name: type(error) for name, error in errors.items()} == dict.fromkeys(calls, wanted)
    return {name: str(error) for name, error in errors.items()}


# ---- away -----------------------------------------------------------------------------------------------------------


def test_a_bucket_that_is_away_is_unavailable_within_seconds_and_loses_nothing(
    store: BlobStore, s3_server: S3Server
) -> None:
    digest = store.put(b"weights")
    with s3_server.away():
        said = refusals(store, Unavailable)
    assert all(f"'{BUCKET}'" in words and "Connection refused" in words for words in said.values()), said
    assert store.get(digest) == b"weights"
    assert [blob.digest for blob in store.list_blobs()] == [digest]


def test_a_bucket_that_says_nothing_is_unavailable_within_seconds(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3.PATIENT, "read_timeout", timedelta(seconds=1))
    store = open_blob_store(s3_url)
    with s3_server.frozen():
        said = refusals(store, Unavailable)
    assert all("no answer in time" in words for words in said.values()), said


def test_a_request_outlasts_a_moment_in_which_the_bucket_is_away(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The moment is as long as this machine takes to start the server.
    monkeypatch.setitem(s3.RETRIES, "max_retries", 1000)
    monkeypatch.setitem(s3.RETRIES, "retry_timeout", timedelta(seconds=PATIENCE_S))
    store = open_blob_store(s3_url)
    digest = store.put(b"weights")
    with ThreadPoolExecutor(1) as pool:
        with s3_server.away():
            read = pool.submit(store.get, digest)
        assert read.result() == b"weights"


def test_a_server_that_dies_in_the_middle_of_puts_keeps_all_that_it_acknowledged(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3.RETRIES, "max_retries", 1)
    store = open_blob_store(s3_url)

    def put_until_it_dies(thread: int) -> list[str]:
        stored: list[str] = []
        try:
            for number in range(1000):
                stored.append(store.put(f"{thread} {number}".encode() * 10_000))
                if (thread, number) == (0, 3):
                    s3_server.kill()
        except Unavailable:
            pass
        return stored

    with ThreadPoolExecutor(3) as pool:
        stored = [digest for digests in pool.map(put_until_it_dies, range(3)) for digest in digests]
    s3_server.start()

    assert len(stored) >= 4
    for digest in stored:
        assert sha256(store.get(digest)).hexdigest() == digest


def test_a_store_opens_while_its_bucket_is_away_and_works_once_it_is_back(
    s3_url: str, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    with s3_server.away():
        store = open_blob_store(s3_url)
        assert f"'{BUCKET}'" in caplog.text
    assert store.get(store.put(b"weights")) == b"weights"


# ---- refused --------------------------------------------------------------------------------------------------------


def test_a_bucket_that_is_missing_is_named_and_not_created(s3_url: str, s3_server: S3Server) -> None:
    for _ in range(2):
        with pytest.raises(Invalid, match=r"'elsewhere'.*NoSuchBucket.*Create it") as caught:
            open_blob_store(s3_url.replace(f"//{BUCKET}", "//elsewhere"))
        assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    ("variable", "words"),
    [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")],
)
def test_wrong_credentials_are_said_at_the_start(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    monkeypatch.setenv(variable, "wrong")

    with pytest.raises(Invalid, match=f"'{BUCKET}'.*{words}.*{variable}"):
        open_blob_store(s3_url)


def test_a_bucket_that_is_gone_later_is_unavailable_and_no_blob_seems_to_be_missing(
    pretender: Pretender, store_of_pretender: BlobStore
) -> None:
    pretender.answers = dict.fromkeys(METHODS, (404, "NoSuchBucket"))
    said = refusals(store_of_pretender, Unavailable)

    assert all("'blobs'" in words and "NoSuchBucket" in words for words in said.values()), said


@pytest.mark.parametrize(
    "url", ["s3:", "s3://", "s3:///prefix", "s3:bucket", "s3://a bucket/x", "s3://bucket/x?y=1", "s3://bu@cket/x"]
)
def test_a_url_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="s3://bucket/prefix"):
        open_blob_store(url)


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://a b"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(Invalid, match="https://host"):
        open_blob_store("s3://bucket/prefix", endpoint)


# ---- full -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(507, ""), (403, "QuotaExceeded")])
@pytest.mark.parametrize("size", [10, s3.PART_BYTES + 1])
def test_a_bucket_that_is_full_is_no_room(
    pretender: Pretender, store_of_pretender: BlobStore, status: int, code: str, size: int
) -> None:
    pretender.answers = {"HEAD": (404, ""), "PUT": (status, code), "POST": (status, code)}

    with pytest.raises(NoRoom, match=f"'blobs'.*{status}.*{code}"):
        store_of_pretender.put(bytes(size))


def test_a_full_directory_for_temporary_files_is_no_room_and_leaves_no_file_open(store: BlobStore) -> None:
    digest = store.put(b"weights")
    before = open_files()
    with files_of_at_most(3), pytest.raises(NoRoom, match="TMPDIR"):
        store.open(digest)
    assert open_files() <= before


def test_a_store_without_conditional_writes_is_told_what_it_lacks(
    pretender: Pretender, store_of_pretender: BlobStore
) -> None:
    pretender.answers = {"PUT": (501, "NotImplemented")}

    with pytest.raises(Unavailable, match="conditional writes"):
        store_of_pretender.put(b"weights")


def test_what_fails_for_a_moment_is_tried_again(pretender: Pretender, store_of_pretender: BlobStore) -> None:
    pretender.answers = {"PUT": (503, "SlowDown")}
    with pytest.raises(Unavailable, match="SlowDown"):
        store_of_pretender.put(b"weights")

    assert pretender.asked.count("PUT") == 4


# ---- URLs -----------------------------------------------------------------------------------------------------------


def test_anybody_may_read_a_blob_under_its_signed_url_and_only_read_it(store: BlobStore, s3_server: S3Server) -> None:
    data = bytes(range(256)) * 1000
    url = store.presign(store.put(data), 60)

    assert url is not None
    assert url.startswith(s3_server.endpoint)
    assert httpx.get(url).content == data
    assert httpx.put(url, content=b"other weights").status_code == 403
    assert httpx.get(url.partition("?")[0]).status_code == 403


def test_a_signed_url_ends(store: BlobStore) -> None:
    url = store.presign(store.put(b"weights"), 1)

    assert url is not None
    until(lambda: httpx.get(url).status_code == 403)


# ---- removals beside puts -------------------------------------------------------------------------------------------
