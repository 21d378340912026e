"""Texts are cut into words once for all members, and members answer what they would have."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._members.constant import ConstantMember
from certified_ensembles._members.words import with_shared_words

RNG = np.random.default_rng(0)
WORDS = np.array(["Fee", "fi", "fo", "fum", "the", "blood", "of", "an", "English", "man"])
TEXTS = np.array([" ".join(RNG.choice(WORDS, n)) for n in RNG.integers(1, 12, 90)], dtype=object)
Y = RNG.integers(0, 2, 90)
ASKED = np.array([*TEXTS[60:], "", "Jack", "fee fee fee Fee", "jack fum"], dtype=object)


@pytest.mark.parametrize(
    "vectorizer",
    [
        CountVectorizer(),
        CountVectorizer(lowercase=False, ngram_range=(1, 2), max_features=20),
        CountVectorizer(stop_words="english", binary=True, dtype=np.float32),
        CountVectorizer(analyzer="char_wb", ngram_range=(2, 3), min_df=2),
        CountVectorizer(vocabulary=["fum", "fee", "giant"]),
        TfidfVectorizer(sublinear_tf=True, strip_accents="unicode"),
        TfidfVectorizer(use_idf=False, norm="l1", token_pattern=r"\w"),
    ],
    ids=str,
)
@pytest.mark.parametrize("head", [MultinomialNB(), LogisticRegression()], ids=str)
def test_shared_words_are_those_that_each_member_would_count(vectorizer, head):
    members = [
        make_pipeline(vectorizer, head).fit(TEXTS[a : a + 30], Y[a : a + 30]) for a in (0, 30)
    ]
    members = [make_pipeline(vectorizer, head).fit(TEXTS[:40], Y[:40]), None, *members[1:]]
    members.append(ConstantMember.of(Y[:1]))
    sharing = with_shared_words(members)
    assert sharing[1] is None
    assert sharing[3] is members[3]
    for texts in (ASKED, ASKED[:1], ASKED[-3:-2]):
        for own, member in zip(sharing, members, strict=True):
            if member not in (None, members[3]):
                given, expected = own[0].transform(texts), member[0].transform(texts)
                assert (type(given), given.dtype) == (type(expected), expected.dtype)
                assert given.shape == expected.shape
                for name in ("data", "indices", "indptr"):
                    one, other = getattr(given, name), getattr(expected, name)
                    assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
                assert own.predict_proba(texts).tobytes() == member.predict_proba(texts).tobytes()


def test_texts_are_cut_once_for_all_members(monkeypatch):
    clf = DeepPartitionAggregation(
        make_pipeline(CountVectorizer(), MultinomialNB()), 4, classes=[0, 1]
    )
    clf.fit(TEXTS, Y)
    expected = np.stack([member.predict(ASKED) for member in clf.estimators_], axis=1)
    cut = []
    build = CountVectorizer.build_analyzer

    def counting(self):
        analyze = build(self)
        return lambda text: cut.append(text) or analyze(text)

    monkeypatch.setattr(CountVectorizer, "build_analyzer", counting)
    np.testing.assert_array_equal(clf.ballots(ASKED), expected)
    assert cut == ASKED.tolist()


@pytest.mark.parametrize(
    "vectorizer",
    [
        CountVectorizer(analyzer=str.split),
        CountVectorizer(tokenizer=str.split, token_pattern=None),
        CountVectorizer(input="filename"),
        type("Own", (CountVectorizer,), {})(),
    ],
    ids=["analyzer", "tokenizer", "files", "subclass"],
)
def test_vectorizers_that_may_cut_in_their_own_way_do_so_themselves(vectorizer):
    members = [make_pipeline(vectorizer, KNeighborsClassifier())]
    assert with_shared_words(members) is members
