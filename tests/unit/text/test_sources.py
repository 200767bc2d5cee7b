from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.errors import InvalidInput
from kaizen.text.source_file import SourceFile, matches, reaches, why_skipped
from kaizen.text.sources import expand, open_source


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    for name in ("b.txt", "a.md", "sub/c.HTML", "sub/deep/d.jsonl", "image.png", ".hidden.txt", ".git/e.txt", "f"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return root


def _names(*sources: object) -> list[str]:
    return [file.name for file in expand([str(source) for source in sources]).files]


def test_a_directory_gives_its_readable_files_in_order(docs: Path) -> None:
    found = expand([str(docs)])
    assert [file.path for file in found.files] == ["a.md", "b.txt", "sub/c.HTML", "sub/deep/d.jsonl"]
    assert [file.format for file in found.files] == ["md", "txt", "html", "jsonl"]
    assert found.skipped == {"hidden": 2, "unknown extension '.png'": 1, "unknown extension ''": 1}


def test_how_many_documents_there_are_is_known_where_each_is_a_file(docs: Path) -> None:
    assert expand([str(docs / "sub" / "c.HTML"), str(docs / "*.txt")]).documents == 2
    assert expand([str(docs)]).documents is None, "a file of JSON lines holds any number"


def test_a_unit_says_where_it_is_from(docs: Path) -> None:
    (file,) = expand([str(docs / "b.txt")]).files
    status = (docs / "b.txt").stat()
    assert file == SourceFile(
        source=(docs / "b.txt").as_uri(),
        uri=(docs / "b.txt").as_uri(),
        path="b.txt",
        name="docs/b.txt",
        format="txt",
        size_bytes=4,
        modified=status.st_mtime,
        etag=f"4-{status.st_mtime_ns}",
    )
    with open_source(file) as opened:
        assert opened.read() == b"text"


def test_the_source_is_the_same_however_it_is_written(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(docs.parent)
    spellings = ["docs", "./docs/", str(docs), docs.as_uri(), "docs/sub/.."]
    assert {expand([source]).files[0].source for source in spellings} == {docs.as_uri()}


def test_names_do_not_depend_on_how_a_file_is_reached(docs: Path) -> None:
    assert _names(docs / "a.md") == ["docs/a.md"]
    assert _names(docs / "*.md") == ["docs/a.md"]
    assert _names(docs / "**" / "*.HTML") == ["docs/sub/c.HTML"]
    assert _names(docs, docs / "a.md", docs / "*.txt") == _names(docs)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.md", "a.md", True),
        ("*.md", "sub/a.md", False),
        ("**/*.md", "a.md", True),
        ("**/*.md", "x/y/a.md", True),
        ("x/**", "x/y/z.md", True),
        ("x/**", "y/z.md", False),
        ("[ab]?.txt", "a1.txt", True),
        ("*/b/**/c.txt", "a/b/c.txt", True),
    ],
)
def test_globs(pattern: str, path: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


def test_a_name_that_looks_like_a_glob_is_a_name_first(tmp_path: Path) -> None:
    (tmp_path / "notes [2024]").mkdir()
    (tmp_path / "notes [2024]" / "a.txt").write_text("text")
    assert _names(tmp_path / "notes [2024]") == ["notes [2024]/a.txt"]


def test_links_are_followed_only_within_the_root(docs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (docs / "out.txt").symlink_to(secret)
    (docs / "in.txt").symlink_to(docs / ".hidden.txt")
    (docs / "broken.txt").symlink_to(docs / "nothing.txt")
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    found = expand([str(docs)])
    assert [file.path for file in found.files][:3] == ["a.md", "b.txt", "in.txt"]
    assert found.skipped["link out of the source"] == 1
    assert found.skipped["linked directory"] == 1
    assert found.skipped["broken link"] == 1


def test_a_link_to_itself_is_a_broken_one(docs: Path) -> None:
    (docs / "self.md").symlink_to("self.md")
    (docs / "one.txt").symlink_to("two.txt")
    (docs / "two.txt").symlink_to("one.txt")
    found = expand([str(docs)])
    assert (found.skipped["broken link"], found.incomplete) == (3, {docs.as_uri()})
    assert [file.path for file in found.files][:2] == ["a.md", "b.txt"]


def test_locks_of_open_documents_are_skipped_as_such(docs: Path) -> None:
    for name in ("~$report.docx", ".~lock.report.docx#", "sub/~$c.docx"):
        (docs / name).write_text("somebody")
    assert expand([str(docs)]).skipped["lock file"] == 3
    assert why_skipped("kb/~$report.docx") == "lock file", "in S3, too"


@pytest.mark.parametrize("source", ["~$report.docx", "~nobody-of-this-name/notes"])
def test_a_name_that_begins_as_a_home_does_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="does not exist"):
        expand([source])
    (tmp_path / source).mkdir(parents=True)
    (tmp_path / source / "a.txt").write_text("text")
    assert len(expand([source]).files) == 1


def test_a_home_is_found(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(docs.parent))
    assert _names("~/docs/a.md") == ["docs/a.md"]


def test_a_source_with_a_broken_link_is_incomplete(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("text")
    (docs / "broken.txt").symlink_to(docs / "nothing.txt")
    assert expand([str(docs), str(tmp_path / "other")]).incomplete == {docs.as_uri()}
    assert expand([str(docs / "*.md")]).incomplete == set(), "the glob does not ask for it"


def test_a_source_with_an_unreadable_directory_is_incomplete(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = expand([str(docs)])
    assert (found.incomplete, found.skipped["unreadable directory"]) == ({docs.as_uri()}, 1)
    assert expand([str(docs / "*.txt")]).incomplete == set(), "nothing below it could match"


def test_a_folder_that_may_be_listed_but_not_entered_is_told(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (docs / "sub" / "deep" / "deeper").mkdir()
    (docs / "sub" / "deep" / "deeper" / "e.txt").write_text("text")
    stat, lstat = os.stat, os.lstat

    def below(path: str | Path) -> None:
        if "/deep/" in str(path):
            raise PermissionError(13, "Permission denied", path)

    def refuse(path: str | Path, **options: bool) -> os.stat_result:
        below(path)
        return stat(path, **options)

    def refuse_link(path: str | Path) -> os.stat_result:
        below(path)
        return lstat(path)

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "lstat", refuse_link)
    found = expand([str(docs)])
    assert [file.path for file in found.files] == ["a.md", "b.txt", "sub/c.HTML"]
    assert (found.incomplete, found.skipped["unreadable directory"]) == ({docs.as_uri()}, 1)


@pytest.mark.parametrize("looks", [0, 1])
def test_a_file_that_goes_while_it_is_listed_is_told(docs: Path, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    stat, left = os.stat, looks

    def gone(path: str | Path, *, follow_symlinks: bool = True, **options: int) -> os.stat_result:
        nonlocal left
        if str(path).endswith("b.txt") and follow_symlinks:
            left -= 1
            if left < 0:
                raise FileNotFoundError(2, "No such file or directory", path)
        return stat(path, follow_symlinks=follow_symlinks, **options)

    monkeypatch.setattr(os, "stat", gone)
    found = expand([str(docs)])
    assert ("b.txt" in [file.path for file in found.files]) == bool(looks)
    assert (found.incomplete, found.skipped.get("unreadable file", 0)) == (
        set() if looks else {docs.as_uri()},
        1 - looks,
    )


def test_folders_that_a_glob_cannot_reach_are_neither_walked_nor_counted(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    scan, walked = os.scandir, []

    def note(path: str) -> Iterator[os.DirEntry[str]]:
        walked.append(Path(path).name)
        return scan(path)

    monkeypatch.setattr(os, "scandir", note)
    found = expand([str(docs / "*.md")])
    assert ([file.path for file in found.files], found.skipped, walked) == (["a.md"], {}, ["docs"])
    assert _names(docs / "sub" / "*.HTML") == ["sub/c.HTML"]
    assert _names(docs / "**" / "d*") == ["docs/sub/deep/d.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("", "a/b", True),
        ("*.md", "a", False),
        ("a/*.md", "a", True),
        ("a/*.md", "b", False),
        ("a/*/c.md", "a", True),
        ("a/*/c.md", "a/b", True),
        ("a/*/c.md", "a/b/c", False),
        ("a/**", "a/b/c", True),
        ("a/**/c.md", "b", False),
    ],
)
def test_what_a_glob_reaches(pattern: str, folder: str, expected: bool) -> None:
    assert reaches(folder, pattern) is expected


def test_a_root_that_is_a_link_keeps_its_name(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(docs, target_is_directory=True)
    assert _names(tmp_path / "current")[0] == "current/a.md"


def test_pipes_are_not_opened(docs: Path) -> None:
    os.mkfifo(docs / "pipe.txt")
    assert expand([str(docs)]).skipped["not a regular file"] == 1


def test_a_name_that_is_not_utf8_can_be_opened(docs: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (docs / name).write_text("coffee")
    file = next(file for file in expand([str(docs)]).files if file.path == name)
    with open_source(file) as opened:
        assert opened.read() == b"coffee"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "does not exist"),
        ("http://x/y", "Cannot read from http"),
        ("", "A source is empty"),
        ("file://", "A source is empty"),
    ],
)
def test_a_source_that_cannot_be_read(source: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        expand([source])


def test_a_source_without_readable_files(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", docs / "*.pdf", docs / "image.png"):
        with pytest.raises(InvalidInput, match="no file that can be read"):
            expand([str(source)])


def test_two_roots_of_one_name_are_refused(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "docs").mkdir(parents=True)
    (tmp_path / "other" / "docs" / "a.md").write_text("text")
    with pytest.raises(InvalidInput, match=r"would both be 'docs/a.md'"):
        expand([str(docs), str(tmp_path / "other" / "docs")])


def test_large_files_of_many_documents_are_split(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("x" * 25)
    (tmp_path / "rows.csv").write_text("x" * 25)
    parts = expand([str(tmp_path)], part_bytes=10).files
    assert [(part.path, part.start, part.end) for part in parts] == [
        ("rows.csv", 0, None),
        ("rows.jsonl", 0, 10),
        ("rows.jsonl", 10, 20),
        ("rows.jsonl", 20, None),
    ]
