import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from kaizen.retrieval.analyser import MAX_TERM_CHARACTERS, Analyser

english = Analyser()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Connected connections", ["the", "connect", "connect"]),
        ("os.path.join(a)", ["os.path.join", "os", "path", "join", "a"]),
        ("max_tokens __init__", ["max_tokens", "max", "token", "__init__", "init"]),
        ("HTTPServer helloWorld mRNA", ["httpserver", "http", "server", "helloworld", "hello", "world", "mrna"]),
        ("It ends. Then 3.14", ["it", "end", "then", "3.14", "3", "14"]),
        ("C++ and C#; issue #5", ["c++", "c", "and", "c#", "c", "issu", "5"]),
        ("Beyoncé ﬁnds Straße", ["beyonc", "find", "strass"]),
        ("東京都 は", ["東京", "京都", "は"]),
        ("IL-6 p53", ["il", "6", "p53"]),
        (" \n\x00 _ -", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert english(text) == terms


def test_accents_and_their_absence_find_each_other() -> None:
    assert english("BEYONCE") == english("beyoncé")


def test_a_language_that_is_none_does_not_stem() -> None:
    assert Analyser(language="none")("Connected connections") == ["connected", "connections"]


def test_a_very_long_token_is_cut() -> None:
    assert english("a" * 1000) == ["a" * MAX_TERM_CHARACTERS]


def test_the_words_of_a_title_count_twice_in_a_chunk() -> None:
    assert english.chunk("Joining paths", "join") == ["join", "path", "join", "path", "join"]


def test_threads_agree() -> None:
    text = " ".join(f"running{i} connections{i} nationally" for i in range(300))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(english, [text] * 32))
    assert results == [english(text)] * 32


def test_survives_pickling_with_its_settings() -> None:
    plain = Analyser(language="none")
    copy = pickle.loads(pickle.dumps(plain))  # noqa: S301 - our own bytes; Ray pickles what it sends to actors
    assert (copy, copy.fingerprint) == (plain, plain.fingerprint)
    assert plain.fingerprint != english.fingerprint
