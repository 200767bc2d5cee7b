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
        ("YouTube pd.DataFrame", ["youtub", "you", "tube", "pd.dataframe", "pd", "datafram", "data", "frame"]),
        ("It ends. Then 3.14", ["it", "end", "then", "3.14", "3", "14"]),
        ("C++ and C#; issue #5", ["c++", "c", "and", "c#", "c", "issu", "5"]),
        ("Beyoncé ﬁnds Straße", ["beyonc", "find", "strass"]),
        ("東京都 は", ["東京", "京都", "は"]),
        ("使用docker部署", ["使用", "docker", "部署"]),
        ("os.path入門 佐々木 3月", ["os.path", "os", "path", "入門", "佐々", "々木", "3", "月"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("เดินทาง", ["เดิ", "ดิน", "นท", "ทา", "าง"]),
        ("IL-6 p53", ["il", "6", "p53"]),
        (" \n\x00 _ -", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert english(text) == terms


def test_accents_and_their_absence_find_each_other() -> None:
    assert english("BEYONCE") == english("beyoncé")


@pytest.mark.parametrize("name", ["YouTube", "DataFrame", "GeForce", "helloWorld", "HTTPServers"])
def test_a_name_with_humps_is_found_by_its_lower_case(name: str) -> None:
    assert english(name.lower())[0] == english(name)[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Docker入門", "docker入門"),
        ("مُحَمَّد", "محمد"),
        ("محـــمد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("5\ufe0f\u20e3", "5"),
    ],
)
def test_case_points_and_strokes_do_not_tell_words_apart(one: str, other: str) -> None:
    assert english(one) == english(other)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("部署", "使用docker部署应用程序"),
        ("docker", "使用Docker部署"),
        ("เดินทาง", "การเดินทางไปกรุงเทพ"),
        ("ກິນ", "ຂ້ອຍກິນເຂົ້າ"),
    ],
)
def test_a_word_is_found_in_a_text_without_blanks(word: str, text: str) -> None:
    assert set(english(word)) <= set(english(text))


def test_a_character_of_many_marks_is_cut() -> None:
    assert [len(term) for term in english("ก" + "ุ" * 1000)] == [MAX_TERM_CHARACTERS]


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
