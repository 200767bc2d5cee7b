import json
from pathlib import Path

import pytest

from kaizen.errors import InvalidInput, KaizenError, NotFound
from kaizen.evaluation.collection import Collection

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "d2", "text": "two", "metadata": {}}]
    queries = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(1, 8)]
    write(tmp_path / "corpus.jsonl", "\n\n".join(json.dumps(line) for line in corpus))
    write(tmp_path / "queries.jsonl", "\n".join(json.dumps(line) for line in queries))
    write(tmp_path / "qrels.tsv", HEADER + "q2\td1\t2\nq1\td2\t1\nq3\td1\t0\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_queries_with_a_relevant_document_in_the_order_of_their_file(folder: Path) -> None:
    collection = Collection.open(folder)
    assert (collection.split, dict(collection.queries)) == ("", {"q1": "query 1", "q2": "query 2"})
    assert collection.judgements == {"q1": {"d2": 1}, "q2": {"d1": 2}}


def test_documents_without_title_have_an_empty_one(folder: Path) -> None:
    documents = [(d.tenant, d.id, d.title, d.text) for d in Collection.open(folder).documents("t")]
    assert documents == [("t", "d1", "T", "one"), ("t", "d2", "", "two")]


@pytest.mark.parametrize("name", ["qrels/test.tsv", "qrels_test.tsv"])
def test_the_test_split_is_taken_unless_another_is_named(folder: Path, name: str) -> None:
    write(folder / name, HEADER + "q5\td1\t1\n")
    write(folder / name.replace("test", "dev"), "q6\td1\t1\n")  # no header: it is optional
    assert list(Collection.open(folder).queries) == ["q5"]
    assert list(Collection.open(folder, "dev").queries) == ["q6"]
    with pytest.raises(NotFound, match="no split 'tset'") as caught:
        Collection.open(folder, "tset")
    assert caught.value.advice == "Its splits are: dev, test."


def test_a_collection_without_splits_says_so(folder: Path) -> None:
    with pytest.raises(NotFound, match="no split 'test'") as caught:
        Collection.open(folder, "test")
    assert caught.value.advice == "Its splits are: none (leave the split out)."


def test_limited_spreads_over_the_queries(folder: Path) -> None:
    write(folder / "qrels.tsv", "".join(f"q{i}\td1\t1\n" for i in range(1, 8)))
    collection = Collection.open(folder)
    assert list(collection.limited(3).queries) == ["q1", "q3", "q5"]
    assert list(collection.limited(3).judgements) == ["q1", "q3", "q5"]
    assert collection.limited(7) == collection


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFound, match=r"There (is|are) no (judgements|\w+\.jsonl) in"):
        Collection.open(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n{oops', "queries.jsonl:2 is not JSON"),
        ("queries.jsonl", '["q1"]', 'queries.jsonl:1 has no "_id"'),
        ("queries.jsonl", '{"_id": 7, "text": "a"}', 'queries.jsonl:1 has no "_id"'),
        ("queries.jsonl", '{"_id": "q1"}', 'queries.jsonl:1 has no "text"'),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, "queries.jsonl:2 has an _id that an earlier line has"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}', "judges 2 queries that queries.jsonl does not have"),
        ("corpus.jsonl", '{"_id": "d1", "text": 5}', 'corpus.jsonl:1 has no "text"'),
        ("qrels.tsv", HEADER + "q1 d1 1", "qrels.tsv:2 is not query, document"),
        ("qrels.tsv", HEADER + "q1\td1\t0.5", "qrels.tsv:2 is not query, document"),
        ("qrels.tsv", "q1 0 d1 1\nq2 0 d1 1", "qrels.tsv:1 is not query, document"),
        ("qrels.tsv", "q1\td1\t0.5", "qrels.tsv:1 is not query, document"),
        ("qrels.tsv", "q1\td1\t1\nq1\td1\t2", "qrels.tsv:2 grades a document that has another"),
        ("qrels.tsv", HEADER + "q1\td1\t0", "no relevant document for any query"),
        ("qrels.tsv", "", "no relevant document for any query"),
    ],
)
def test_a_broken_file_is_named_with_its_line(folder: Path, name: str, text: str, message: str) -> None:
    write(folder / name, text)
    with pytest.raises(InvalidInput) as caught:
        list(Collection.open(folder).documents("t"))
    assert message in caught.value.message


def test_what_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "\xff"}')
    with pytest.raises(KaizenError, match=r"corpus.jsonl:1 is not UTF-8"):
        list(Collection.open(folder).documents("t"))


@pytest.mark.parametrize("text", ["", "x" * 4097])
def test_a_query_that_nobody_can_ask_is_named(folder: Path, text: str) -> None:
    def texts(last: str) -> None:
        rows = [{"_id": "q1", "text": "x" * 4096}, {"_id": "q2", "text": last}, {"_id": "q3", "text": ""}]
        write(folder / "queries.jsonl", "\n".join(map(json.dumps, rows)))

    texts("x")
    Collection.open(folder).check_asked()  # nothing is relevant to q3: nobody asks it
    texts(text)
    with pytest.raises(InvalidInput, match=f"'q2' has {len(text)} characters"):
        Collection.open(folder).check_asked()


def test_a_mark_of_byte_order_and_what_is_no_newline_are_no_matter(folder: Path) -> None:
    write(folder / "queries.jsonl", '\ufeff{"_id": "q1", "text": "what\u2028now\x85"}\r\n')
    write(folder / "qrels.tsv", "\ufeffq1\td2\t1\r\n")
    collection = Collection.open(folder)
    assert (collection.queries, collection.judgements) == ({"q1": "what\u2028now\x85"}, {"q1": {"d2": 1}})
