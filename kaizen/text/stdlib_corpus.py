"""The documentation of the running Python's standard library as a corpus: real text that is on every machine.

Python files are parsed, not imported; only modules written in C, whose text is nowhere else, are imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import sys
import sysconfig
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MIN_CHARS = 100  # of signature and docstring; what is shorter ("Return self+value.") answers nothing
_SKIPPED = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "site-packages",
        "dist-packages",
        "turtledemo",
        "ntpath",
        "ensurepip",
        "pydoc_data",
    }
    | {"__pycache__", "antigravity", "this", "encodings", "lib-dynload", "config"}
)
# Where the text of a public module lies under a private name.
_PUBLIC_NAMES = {
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_pydatetime": "datetime",
    "_collections_abc": "collections.abc",
    "posixpath": "os.path",
    "genericpath": "os.path",
}
# Written in C, wholly or in part, and without effect when imported.
_IN_C = """
array atexit binascii builtins bz2 cmath codecs collections contextvars csv errno faulthandler fcntl functools gc grp
hashlib io itertools lzma marshal math mmap operator os pwd queue re resource select signal socket sqlite3 ssl struct
sys threading time types unicodedata weakref zlib
"""
# Modules with a page of their own below that of their package, and those that are described under another name.
_PAGES = """
collections.abc concurrent.futures curses.ascii curses.panel email.charset email.contentmanager email.encoders
email.errors email.generator email.header email.headerregistry email.iterators email.message email.mime email.parser
email.policy email.utils html.entities html.parser http.client http.cookiejar http.cookies http.server
importlib.metadata importlib.resources logging.config logging.handlers multiprocessing.shared_memory os.path
tkinter.colorchooser tkinter.dnd tkinter.font tkinter.messagebox tkinter.scrolledtext tkinter.ttk unittest.mock
urllib.error urllib.parse urllib.request urllib.robotparser xml.dom xml.dom.minidom xml.dom.pulldom
xml.etree.elementtree xml.sax xml.sax.handler xmlrpc.client xmlrpc.server
"""
_DESCRIBED_UNDER = {
    **dict.fromkeys(("sre_compile", "sre_constants", "sre_parse"), "re"),
    "nturl2path": "urllib.request",
    "opcode": "dis",
}
Row = dict[str, Any]
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_documents() -> Iterator[Row]:
    """Yield rows {id, title, text, metadata: {module, kind, python, url}} in the same order on every run.

    `kind` is module, class, function or method; the text is the signature and the docstring; private names, and
    texts under 100 characters, are left out.
    """
    seen: set[str] = set()
    for rows in (_from_files(), _from_imports()):
        for row in rows:
            if row["id"] not in seen:
                seen.add(row["id"])
                yield row


def write_jsonl(path: Path) -> int:
    """Write the corpus to `path`, one row a line, and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in stdlib_documents():
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _from_files() -> Iterator[Row]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(_python_files(library)):
        module = _module_name(path.relative_to(library))
        if module:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in old docstrings are not our concern
                tree = ast.parse(path.read_bytes())
            yield from _row(module, "", "module", "", ast.get_docstring(tree))
            yield from _from_body(module, "", tree.body)


def _python_files(library: Path) -> Iterator[Path]:
    """Those in no folder to leave out: whoever installed much there need not wait until all of it is listed."""
    for folder, inner, names in os.walk(library):
        inner[:] = set(inner) - _SKIPPED
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _module_name(path: Path) -> str:
    """Return the public name of the module in the file `path` below the library, "" for one to leave out."""
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if not parts or _SKIPPED.intersection(parts):
        return ""
    parts[0] = _PUBLIC_NAMES.get(parts[0], parts[0])
    if parts != ["__future__"] and any(part.startswith("_") for part in parts):
        return ""
    return ".".join(parts) if parts[0].split(".")[0] in sys.stdlib_module_names else ""


def _from_body(module: str, owner: str, body: list[ast.stmt]) -> Iterator[Row]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _from_body(module, owner, node.body)
        elif isinstance(node, _Definition) and not node.name.startswith("_"):
            yield from _from_definition(module, f"{owner}.{node.name}" if owner else node.name, owner, node)


def _from_definition(module: str, name: str, owner: str, node: _Definition) -> Iterator[Row]:
    if isinstance(node, ast.ClassDef):
        yield from _row(module, name, "class", _signature(_initialiser(node)), ast.get_docstring(node))
        yield from _from_body(module, name, node.body)
    else:
        yield from _row(module, name, "method" if owner else "function", _signature(node), ast.get_docstring(node))


def _initialiser(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | None) -> str:
    return "" if node is None else f"({ast.unparse(node.args)})".replace("(self, ", "(").replace("(self)", "()")


def _from_imports() -> Iterator[Row]:
    for module in _IN_C.split():
        namespace = vars(importlib.import_module(module))
        yield from _row(module, "", "module", "", _doc(namespace.get("__doc__")))
        for name in sorted(namespace):
            value = namespace[name]
            if name.startswith("_") or _home(value) not in (module, f"_{module}", "builtins", "posix", None):
                continue
            if isinstance(value, type):
                yield from _from_class(module, name, value)
            elif isinstance(value, types.BuiltinFunctionType):
                yield from _row(module, name, "function", _text_signature(value), _doc(value.__doc__))


def _from_class(module: str, name: str, value: type) -> Iterator[Row]:
    yield from _row(module, name, "class", _text_signature(value), _doc(value.__dict__.get("__doc__")))
    for member, method in sorted(vars(value).items()):
        if not member.startswith("_") and isinstance(
            method, types.MethodDescriptorType | types.ClassMethodDescriptorType
        ):
            signature = _text_signature(method)
            yield from _row(module, f"{name}.{member}", "method", signature, _doc(method.__doc__))


def _home(value: object) -> object:
    return getattr(value, "__module__", None)


def _doc(doc: object) -> str | None:
    return inspect.cleandoc(doc) if isinstance(doc, str) else None


def _text_signature(value: Callable[..., object]) -> str:
    try:
        return (
            str(inspect.signature(value)).replace("(self, /, ", "(").replace("(self, /)", "()").replace("(self, ", "(")
        )
    except ValueError:  # most older functions in C carry none
        return ""


def _row(module: str, name: str, kind: str, signature: str, doc: str | None) -> Iterator[Row]:
    full = f"{module}.{name}" if name and module != "builtins" else name or module
    text = f"{full}{signature}\n\n{doc}" if signature else doc
    if not doc or not text or len(text) < MIN_CHARS:
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    yield {
        "id": f"python/{full}",
        "title": full,
        "text": text,
        "metadata": {"module": module, "kind": kind, "python": version, "url": _url(version, module, kind, full)},
    }


def _url(version: str, module: str, kind: str, full: str) -> str:
    page = _builtin_page(kind, full) if module == "builtins" else _DESCRIBED_UNDER.get(module, module).lower()
    while "." in page and page not in _PAGES.split():
        page = page.rpartition(".")[0]
    anchor = f"#{full}" if page == module.lower() or module == "builtins" else ""
    if kind == "module":
        anchor = f"#module-{full}" if anchor else ""
    return f"https://docs.python.org/{version}/library/{page}.html{anchor}"


def _builtin_page(kind: str, full: str) -> str:
    if full.endswith(("Error", "Exception", "Warning", "Exit", "Iteration", "Interrupt", "Group")):
        return "exceptions"
    return "stdtypes" if kind == "method" else "functions"
