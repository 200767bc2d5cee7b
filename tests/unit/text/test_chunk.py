from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from kaizen.config import Chunking
from kaizen.records import Chunk, Document
from kaizen.text.chunk import Chunker, embedded_text
from kaizen.text.tokens import TokenCounter

PROSE = "The quick brown fox jumps over the lazy dog near the river bank. "
NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(" \n.,!?;。\uff0c「」()[]#-_/'\"aZ09éß漢字\u0301\u200d\u00a0\u3000\u001c\u0085")),
        st.characters(codec="utf-8"),
    ),
    max_size=600,
)


def _document(text: str, title: str = "") -> Document:
    return Document(tenant="acme", id="d", title=title, text=text)


def _exact(counter: TokenCounter, chunker: Chunker, document: Document, chunks: list[Chunk]) -> list[int]:
    return [counter.specials + counter.count(text) for text in chunker.embedded_texts(document, chunks)]


def _check(counter: TokenCounter, limits: Chunking, document: Document) -> list[Chunk]:
    """Assert all that is promised of the chunks of any document."""
    chunker, text = Chunker(counter, limits), document.text
    chunks = chunker.chunks(document)
    assert [chunk.text for chunk in chunks] == [text[chunk.start : chunk.end] for chunk in chunks]
    assert all(chunk.text.strip() for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    covered = {i for chunk in chunks for i in range(chunk.start, chunk.end)}
    assert [i for i, char in enumerate(text) if not char.isspace() and i not in covered] == []
    exact = _exact(counter, chunker, document, chunks)
    assert [chunk.tokens for chunk in chunks] == exact
    assert all(
        tokens <= limits.max_tokens or chunk.end - chunk.start == 1 for chunk, tokens in zip(chunks, exact, strict=True)
    )
    return chunks


@settings(max_examples=150, deadline=None)
@given(text=NASTY, title=st.text(max_size=80), most=st.integers(16, 48))
def test_any_text(counter: TokenCounter, text: str, title: str, most: int) -> None:
    _check(counter, Chunking(max_tokens=most, overlap_tokens=most // 4), _document(text, title))


@settings(max_examples=60, deadline=None)
@given(text=NASTY, title=st.text(max_size=40))
def test_any_text_with_a_byte_level_tokenizer(byte_level: TokenCounter, text: str, title: str) -> None:
    _check(byte_level, Chunking(max_tokens=32, overlap_tokens=8), _document(text, title))


@pytest.fixture(scope="module")
def byte_level() -> TokenCounter:
    """A tokenizer for which the sum over words is not exact: blanks are part of its tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [PROSE] * 5, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return TokenCounter(tokenizer)


def test_a_document_that_fits_is_one_chunk(counter: TokenCounter) -> None:
    text = ("\n " + PROSE * 16).rstrip() + "\n"
    (chunk,) = _check(counter, Chunking(max_tokens=256), _document(text, "Foxes"))
    assert (chunk.start, chunk.end) == (2, len(text) - 1)


def test_one_token_over_makes_two_chunks_of_even_size(counter: TokenCounter) -> None:
    text = PROSE * 18
    limit = counter.specials + counter.count(text) - 1
    first, second = _check(counter, Chunking(max_tokens=limit, overlap_tokens=0), _document(text))
    assert abs(first.tokens - second.tokens) <= counter.count(PROSE)


def test_neighbours_repeat_whole_sentences(counter: TokenCounter) -> None:
    chunks = _check(counter, Chunking(max_tokens=64, overlap_tokens=16), _document(PROSE * 12))
    sentence = counter.count(PROSE)
    for before, after in pairwise(chunks):
        repeated = before.end - after.start
        assert repeated == len(PROSE.strip()) * (16 // sentence)


def test_chunks_end_with_a_paragraph_and_not_with_a_heading(counter: TokenCounter) -> None:
    section = "Heading of a part\n\n" + PROSE * 3 + "\n\n"
    chunks = _check(counter, Chunking(max_tokens=96, overlap_tokens=0), _document(section * 6))
    assert {chunk.text.split("\n")[0] for chunk in chunks} == {"Heading of a part"}


@pytest.mark.parametrize("word", ["x" * 9000, "漢" * 3000, "a1/b2." * 1500, "\u0627\u0644" * 2000, "\ud55c" * 900])
def test_a_word_over_the_budget_is_cut_inside(counter: TokenCounter, word: str) -> None:
    _check(counter, Chunking(max_tokens=64, overlap_tokens=8), _document(f"Before. {word} after.", "Title"))


def test_a_long_sentence_is_cut_after_a_clause(counter: TokenCounter) -> None:
    text = ", ".join(["the fox jumps over the dog"] * 20)
    chunks = _check(counter, Chunking(max_tokens=64, overlap_tokens=0), _document(text))
    assert all(chunk.text.endswith((",", "dog")) for chunk in chunks)


def test_a_long_title_takes_at_most_a_quarter(counter: TokenCounter) -> None:
    chunker = Chunker(counter, Chunking(max_tokens=64))
    short = chunker.short_title("word " * 1000)
    assert short == " ".join(["word"] * 16)
    assert counter.count(chunker.short_title("漢" * 1000)) <= 16
    assert counter.count(chunker.short_title("1" * 5000)) <= 16


def test_no_title_leaves_no_trace() -> None:
    assert embedded_text("", "text") == "text"
    assert embedded_text("Title", "text") == "Title text"


def test_blank_text_has_no_chunks(counter: TokenCounter) -> None:
    assert Chunker(counter, Chunking()).chunks(_document(" \n ", "Title")) == []


def test_the_callers_tokenizer_keeps_its_truncation(counter: TokenCounter) -> None:
    theirs = Tokenizer.from_str(counter._tokenizer.to_str())
    theirs.enable_truncation(8)
    ours = TokenCounter(theirs)
    assert ours.count("word " * 100) == 100
    assert theirs.truncation["max_length"] == 8


def test_special_tokens_in_a_document_are_plain_text(counter: TokenCounter) -> None:
    assert counter.count("[SEP]") == 3


def test_a_prompt_takes_its_share_of_the_budget(counter: TokenCounter) -> None:
    prompted = TokenCounter(counter._tokenizer, prompt="passage: ")
    assert prompted.specials == counter.specials + 2
    (chunk,) = Chunker(prompted, Chunking()).chunks(_document("text"))
    assert chunk.tokens == 2 + 2 + 1


def test_a_book_is_cut_section_by_section(counter: TokenCounter) -> None:
    _check(counter, Chunking(max_tokens=256), _document((PROSE * 4 + "\n\n") * 1200, "Book"))


def test_lone_surrogates_are_counted_as_they_will_be_stored(counter: TokenCounter) -> None:
    (chunk,) = Chunker(counter, Chunking()).chunks(_document("a \ud800 b"))
    assert chunk.tokens == 2 + 3


def test_words_are_counted_as_the_embedder_lowers_them(byte_level: TokenCounter) -> None:
    lowered = TokenCounter(byte_level._tokenizer, lowercase=True)
    assert lowered.count("FOX") == byte_level.count("fox") < byte_level.count("FOX")


def test_threads_may_share_one(counter: TokenCounter) -> None:
    chunker = Chunker(counter, Chunking(max_tokens=40, overlap_tokens=8))
    documents = [_document(f"{PROSE * 9} It is edition {number}.", "T") for number in range(40)]
    alone = [chunker.chunks(each) for each in documents]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(chunker.chunks, documents)) == alone
