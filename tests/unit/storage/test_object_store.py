"""Both object stores, local and S3 over real HTTP, through the same tests."""

from __future__ import annotations

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from kaizen.errors import ConfigError, Conflict, Corrupt, InvalidInput, KaizenError, NotFound, StorageFull, Unavailable
from kaizen.storage.manifest import MANIFEST_FILE, FileSum, Manifest
from kaizen.storage.names import decode_pointer, encode_pointer
from kaizen.storage.object_store import ObjectStore, open_store

FILES = {"index.faiss": b"\1\2" * 5000, "chunks.arrow": b"", "words/meta.json": b"{}", "words/deep/er": b"x" * 70000}


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "local":
        return open_store(str(tmp_path / "objects"))
    request.getfixturevalue("s3_access")
    endpoint: str = request.getfixturevalue("s3_endpoint")
    return open_store(f"s3://kaizen/{tmp_path.name}", endpoint)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return _write(tmp_path / "source", FILES)


def _write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def _read(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def _tamper(store: ObjectStore, name: str, data: bytes | None) -> None:
    """Change stored bytes behind the store's back; None removes them."""
    files = getattr(store, "_files", None)
    if files is None:
        path = Path(store.uri) / name
        path.unlink() if data is None else path.write_bytes(data)
    elif data is None:
        files.rm_file(f"{store.uri}/{name}")
    else:
        files.pipe_file(f"{store.uri}/{name}", data)


def _stored(store: ObjectStore, name: str) -> bytes:
    files = getattr(store, "_files", None)
    data: bytes = (Path(store.uri) / name).read_bytes() if files is None else files.cat_file(f"{store.uri}/{name}")
    return data


def test_a_directory_comes_back_as_it_was_put(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    manifest = store.put_directory("segments/0/a", source)
    assert _read(store.fetch_directory("segments/0/a")) == FILES
    assert _read(store.fetch_directory("segments/0/a", tmp_path / "cache" / "a")) == FILES
    assert store.manifest("segments/0/a") == manifest == Manifest.of(source)
    assert (manifest.size_bytes, len(manifest.files)) == (80_002, 4)
    assert {file.path: file.size_bytes for file in manifest.files} == {name: len(FILES[name]) for name in FILES}


def test_the_same_content_again_is_no_error_and_other_content_is(store: ObjectStore, source: Path) -> None:
    manifest = store.put_directory("a", source)
    assert store.put_directory("a", source) == manifest
    (source / "index.faiss").write_bytes(b"other")
    with pytest.raises(Conflict):
        store.put_directory("a", source)
    assert _read(store.fetch_directory("a")) == FILES
    empty = source / "empty"
    empty.mkdir()
    store.put_directory("nothing", empty)
    assert _read(store.fetch_directory("nothing")) == {}


def test_of_many_who_put_one_name_all_agree(store: ObjectStore, source: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        manifests = list(pool.map(lambda _: store.put_directory("a", source), range(4)))
    assert manifests == [Manifest.of(source)] * 4
    assert _read(store.fetch_directory("a")) == FILES
    assert store.list() == ["a"]


def test_a_flipped_bit_in_any_file_is_refused(store: ObjectStore, source: Path) -> None:
    store.put_directory("a", source)
    for name in (*FILES, MANIFEST_FILE):
        whole = _stored(store, f"a/{name}")
        flipped = bytearray(whole or b"x")
        flipped[len(whole) // 2] ^= 1
        _tamper(store, f"a/{name}", bytes(flipped))
        with pytest.raises(Corrupt):
            store.fetch_directory("a")
        _tamper(store, f"a/{name}", whole)
    assert _read(store.fetch_directory("a")) == FILES


def test_a_torn_or_missing_file_is_refused(store: ObjectStore, source: Path) -> None:
    store.put_directory("a", source)
    whole = _stored(store, "a/index.faiss")
    for damaged in (whole[:-1], whole + b"x", b"", None):
        _tamper(store, "a/index.faiss", damaged)
        with pytest.raises(Corrupt):
            store.fetch_directory("a")


def test_a_directory_without_a_manifest_does_not_exist(store: ObjectStore, source: Path) -> None:
    store.put_directory("a", source)
    _tamper(store, f"a/{MANIFEST_FILE}", b"")
    with pytest.raises(Corrupt):
        store.fetch_directory("a")
    _tamper(store, f"a/{MANIFEST_FILE}", None)
    with pytest.raises(NotFound):
        store.fetch_directory("a")


def test_no_byte_of_a_manifest_or_pointer_can_change_unnoticed(source: Path) -> None:
    for whole, decode in (
        (Manifest.of(source).encode(), Manifest.decode),
        (encode_pointer("segments/2 ü"), decode_pointer),
    ):
        for position in range(len(whole)):
            flipped = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
            for damaged in (flipped, whole[:position]):
                with pytest.raises(Corrupt):
                    decode(damaged, "a")


def test_a_manifest_cannot_reach_out_of_its_directory(store: ObjectStore, source: Path) -> None:
    store.put_directory("a", source)
    for path in ("../../etc/passwd", "/etc/passwd", "x/../../y"):
        hostile = Manifest((FileSum(path=path, size_bytes=1, sha256="0" * 64),))
        _tamper(store, f"a/{MANIFEST_FILE}", hostile.encode())
        with pytest.raises(Corrupt, match="outside"):
            store.fetch_directory("a")


def test_a_cached_download_is_verified_and_mended(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put_directory("a", source)
    cache = tmp_path / "cache"
    at = store.fetch_directory("a", cache)
    if at != cache:
        return  # a local store has no cache
    (cache / "index.faiss").write_bytes(b"torn")
    assert _read(store.fetch_directory("a", cache)) == FILES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".cache")] == []


def test_pointers(store: ObjectStore) -> None:
    assert store.read_pointer("shards/0") is None
    store.write_pointer("shards/0", "segments/1")
    store.write_pointer("shards/0", "segments/2 ü")
    assert store.read_pointer("shards/0") == "segments/2 ü"
    _tamper(store, "shards/0.pointer", _stored(store, "shards/0.pointer")[:-1])
    with pytest.raises(Corrupt):
        store.read_pointer("shards/0")
    store.write_pointer("shards/0", "segments/3")
    assert store.read_pointer("shards/0") == "segments/3"


def test_blobs(store: ObjectStore) -> None:
    store.put_bytes("raw/a", b"one")
    store.put_bytes("raw/a", b"two" * 100_000)
    assert store.get_bytes("raw/a") == b"two" * 100_000
    for absent in ("raw/b", "raw", "raw/a/b"):
        with pytest.raises(NotFound):
            store.get_bytes(absent)


def test_listing_and_deleting(store: ObjectStore, source: Path) -> None:
    for name in ("segments/1", "segments/10", "segments/2"):
        store.put_directory(name, source)
    store.put_bytes("raw/a", b"1")
    store.write_pointer("shards/0", "segments/1")
    assert store.list() == ["raw/a", "segments/1", "segments/10", "segments/2"]
    assert store.list("segments") == store.list("segments/") == ["segments/1", "segments/10", "segments/2"]
    assert store.list("segments/1") == ["segments/1"]
    assert store.list("none") == store.list("seg") == []
    for name in ("segments/1", "segments/1", "raw/a", "shards/0", "never"):
        store.delete(name)
    assert store.list() == ["segments/10", "segments/2"]
    assert store.read_pointer("shards/0") is None
    with pytest.raises(NotFound):
        store.fetch_directory("segments/1")
    store.put_directory("segments/1", source)
    assert _read(store.fetch_directory("segments/1")) == FILES


def test_a_full_disk_has_no_room_for_another_directory_yet_lets_go(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "objects"))
    store.put_directory("segments/a", source)
    monkeypatch.setattr("os.mkdir", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageFull):
        store.put_directory("segments/b", source)
    store.delete("segments/a")
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


def test_a_name_that_climbs_or_is_strange_is_refused(store: ObjectStore, source: Path) -> None:
    strange = ["", "/etc", "../a", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a b", "ä", "a\0", "a\\b", "x.pointer"]
    for name in (*strange, "a" * 1000, f"a/{MANIFEST_FILE}"):
        with pytest.raises(InvalidInput):
            store.put_directory(name, source)
        with pytest.raises(InvalidInput):
            store.fetch_directory(name)
        with pytest.raises(InvalidInput):
            store.put_bytes(name, b"")
        with pytest.raises(InvalidInput):
            store.write_pointer(name, "")
        with pytest.raises(InvalidInput):
            store.delete(name)


def test_what_is_no_directory_is_refused(store: ObjectStore, source: Path) -> None:
    with pytest.raises(InvalidInput):
        store.put_directory("a", source / "index.faiss")
    (source / MANIFEST_FILE).write_bytes(b"{}")
    with pytest.raises(InvalidInput):
        store.put_directory("a", source)
    with pytest.raises(NotFound):
        store.fetch_directory("never/put")


def test_a_store_pickles_to_its_address(store: ObjectStore, source: Path) -> None:
    store.put_directory("a", source)
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert (copy.uri, _read(copy.fetch_directory("a"))) == (store.uri, FILES)


@pytest.mark.parametrize("uri", ["s3://", "gopher://x", "s3:///"])
def test_a_uri_that_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        open_store(uri)


def test_a_service_that_refuses_or_does_not_answer(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match="bucket does not exist"):
        open_store("s3://no-such-bucket/x", s3_endpoint).put_bytes("a", b"")
    with pytest.raises(Unavailable):
        open_store("s3://kaizen/x", "http://127.0.0.1:9").get_bytes("a")


def test_other_content_beside_a_local_name_is_a_conflict(tmp_path: Path, source: Path) -> None:
    store = open_store(f"file://{tmp_path}/objects")
    store.put_bytes("a/b", b"")
    for name in ("a", "a/b"):
        with pytest.raises(Conflict):
            store.put_directory(name, source)
    with pytest.raises(KaizenError):
        store.put_directory("a/b/c", source)


def test_of_many_who_put_other_content_under_one_local_name_one_wins(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "objects"))
    sources = [_write(tmp_path / f"source-{n}", {"a": b"%d" % n, "b": b"%d" % n * 1000}) for n in range(8)]

    def put(source: Path) -> type[KaizenError] | None:
        try:
            store.put_directory("a", source)
        except KaizenError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(put, sources))
    assert sorted(outcomes, key=str) == [Conflict] * 7 + [None]
    assert _read(store.fetch_directory("a")) == _read(sources[outcomes.index(None)])
