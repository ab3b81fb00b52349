"""Python and HTTP give the same items in the same order, with the same scores and reasons."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def expected(recommender, histories, **options):
    """Python's answers in the form of HTTP's."""
    frame = recommender.recommend(histories, explain=True, **options)
    groups = dict(tuple(frame.groupby("user", sort=False)))
    names = {"items": "item", "scores": "score", "reasons": "reason"}
    return [
        {
            "user": user,
            **{name: groups[user][column].tolist() for name, column in names.items()},
            "cold": bool(groups[user]["cold"].any()),
        }
        for user in range(len(histories))
    ]


def test_http_answers_as_python_does_alone_together_and_in_batches(service, recommender, histories):
    answers = expected(recommender, histories, k=7)

    def ask(some):
        return service.post("/recommend", {"histories": some, "k": 7, "explain": True})["answers"]

    for size in (100, 1):  # one request at a time
        found = [answer for n in range(0, 1000 if size > 1 else 200, size) for answer in ask(histories[n : n + size])]
        assert [{**answer, "user": n} for n, answer in enumerate(found)] == answers[: len(found)]
    with ThreadPoolExecutor(16) as clients:
        found = list(clients.map(lambda history: ask([history])[0], histories))
    assert [{**answer, "user": n} for n, answer in enumerate(found)] == answers
    _, metrics = service.ask("GET", "/metrics")
    calls = float(metrics.partition("raserec_batch_histories_count ")[2].split()[0])
    assert calls < 10 + 200 + 1000, "no two concurrent requests shared a call"


def test_the_options_are_those_of_python(service, recommender, trained):
    user = max(trained.sequences, key=lambda u: len(trained.sequences[u]))
    history = trained.sequences[user][:6]
    for options in (
        {"filter_seen": False},
        {"items": ["i1", "i2", "i3"]},
        {"exclude": [f"i{n}" for n in range(50)]},
        {"k": 1},
    ):
        answer = service.post("/recommend", {"histories": [history], **options})["answers"][0]
        frame = recommender.recommend([history], **options)
        assert answer["items"] == frame["item"].tolist()
        assert answer["scores"] == frame["score"].tolist()
        assert "reasons" not in answer
    body = {"histories": [history, history, [*history, "x9"]], "users": [user, None, 5], "on_unknown": "ignore"}
    answers = service.post("/recommend", {**body, "titles": True})["answers"]
    frame = recommender.recommend(body["histories"], users=[user, None, 5], on_unknown="ignore")
    assert [answer["user"] for answer in answers] == [user, 1, 5]
    assert [item for answer in answers for item in answer["items"]] == frame["item"].tolist()
    assert answers[0]["titles"] == [f"Item number {item[1:]}" for item in answers[0]["items"]]


def test_a_users_own_memories_are_used_as_python_uses_them(service, recommender, trained):
    users = list(trained.sequences)
    histories = [trained.sequences[user][:4] for user in users]
    answers = service.post("/recommend", {"histories": histories, "users": users, "k": 20})["answers"]
    scores = [score for answer in answers for score in answer["scores"]]
    assert scores == recommender.recommend(histories, k=20, users=users)["score"].tolist()
    assert scores != recommender.recommend(histories, k=20)["score"].tolist()


def test_explain_and_similar_are_those_of_python(service, recommender):
    found = service.post("/explain", {"history": ["i1", "i2"], "item": "i3"})
    python = recommender.explain(["i1", "i2"], "i3")
    assert {name: found[name] for name in found if name != "memories"} == {
        name: value for name, value in vars(python).items() if name != "memories"
    }
    assert found["memories"] == python.memories.to_dict("records")
    assert len(found["memories"]) in (5, 9)
    assert service.post("/explain", {"history": [], "item": "i3"})["memories"] == []
    answers = service.post("/similar", {"items": ["i1", "i7"], "k": 3})["answers"]
    frame = recommender.similar_items(["i1", "i7"], k=3)
    assert [answer["item"] for answer in answers] == ["i1", "i7"]
    assert [item for answer in answers for item in answer["items"]] == frame["similar"].tolist()
    assert [score for answer in answers for score in answer["scores"]] == frame["score"].tolist()
