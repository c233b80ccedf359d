"""Keys, envelopes, errors, pages, queries, repeated requests: what holds for every call."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from stigg import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

from tests.conformance.building import (
    check,
    customer,
    feature,
    flag,
    later,
    meter,
    plan,
    product,
    refused,
    shop,
    subscription,
    time_of,
    up_to,
    use,
)
from tests.conformance.driving import Clients, Site
from tests.crash.trouble import stopped_worker


@pytest.fixture(scope="module")
def site(site_of_its_own: Site) -> Site:
    """Time passes here."""
    return site_of_its_own


def is_json(answer: httpx.Response) -> bool:
    return answer.headers["content-type"].startswith("application/json")


# --- keys --------------------------------------------------------------------------------------


def test_a01_a_call_without_a_key_is_unauthenticated(site: Site) -> None:
    for method, path in (
        ("GET", "/api/v1/features"),
        ("POST", "/api/v1/events"),
        ("PATCH", "/api/v1/customers/x"),
    ):
        answer = site.raw(method, path, None)
        assert (answer.status_code, is_json(answer)) == (401, True)
        assert answer.json()["code"] == "Unauthenticated"
        assert answer.json()["message"]


def test_a02_an_unknown_key_is_unauthenticated(clients: Clients) -> None:
    with refused(AuthenticationError, "Unauthenticated"):
        clients.of("bad").v1.features.list_features()


def test_a03_an_environment_sees_nothing_of_another(
    stigg: Any, clients: Clients, site: Site, environment: str
) -> None:
    shop(stigg)
    other = clients.of(site.key(f"{environment}-other"))
    with refused(NotFoundError, "CustomerNotFound"):
        other.v1.customers.retrieve("acme")
    assert [one.id for one in other.v1.features.list_features()] == []
    shop(other)  # the same ids, which are free there
    use(other, 3)
    assert use(stigg, 1) == 1


def test_a04_the_key_decides_the_environment_whatever_the_headers_say(stigg: Any) -> None:
    customer(stigg, "acme", x_environment_id="elsewhere", x_account_id="somebody")
    found = stigg.v1.customers.retrieve("acme", x_environment_id="other", x_account_id="nobody")
    assert found.data.id == "acme"


def test_a_client_key_checks_and_reads_the_catalog_and_no_more(
    stigg: Any, clients: Clients, site: Site, environment: str
) -> None:
    shop(stigg)
    subscription(stigg)
    publishable = clients.of(site.key(environment, "client"))
    assert check(publishable).is_granted
    assert publishable.v1.plans.retrieve("basic").data.id == "basic"
    with refused(PermissionDeniedError, "AccessDeniedError"):
        publishable.v1.customers.retrieve("acme")
    with refused(PermissionDeniedError, "AccessDeniedError"):
        use(publishable, 1)
    assert check(stigg).current_usage == 0


# --- envelopes and errors ----------------------------------------------------------------------


def test_a06_an_error_is_flat(stigg: Any) -> None:
    with refused(NotFoundError, "CustomerNotFound"):
        stigg.v1.customers.retrieve("missing")


def test_a07_a18_every_answer_is_json_under_data(stigg: Any, site: Site, key: str) -> None:
    shop(stigg)
    told = {"x-stainless-novelty": "7", "X-Stainless-Lang": "cobol"}
    for path in ("customers/acme", "features/calls", "plans/basic", "customers/acme/entitlements"):
        answer = site.raw("GET", f"/api/v1/{path}", key, headers=told)
        assert (answer.status_code, is_json(answer)) == (200, True)
        assert answer.json().keys() == {"data"}
    for path in ("customers", "features", "plans", "products", "addons", "subscriptions"):
        listed = site.raw("GET", f"/api/v1/{path}", key).json()
        assert listed.keys() == {"data", "pagination"}
        assert listed["pagination"] == {"next": None, "prev": None}
    made = site.raw("POST", "/api/v1/customers", key, json={"id": "new"})
    assert (made.status_code, made.json().keys()) == (201, {"data"})


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v9/customers", "/", "/api/v1/features/"])
def test_no_path_answers_with_html(site: Site, key: str, path: str) -> None:
    answer = site.raw("GET", path, key)
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
    assert is_json(answer)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"id": "a", "id": "b"}', b"null"])
def test_a_body_that_is_no_object_is_refused(site: Site, key: str, body: bytes) -> None:
    answer = site.raw("POST", "/api/v1/customers", key, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "BadUserInput")


def test_a15_an_unknown_field_is_refused_and_leaves_nothing(stigg: Any) -> None:
    shop(stigg)
    subscribed = subscription(stigg)
    surprise: Any = {"extra_body": {"surprise": 1}}
    v1 = stigg.v1
    event = {"customer_id": "acme", "event_name": "x", "idempotency_key": "k"}
    report = {"customer_id": "acme", "feature_id": "calls", "value": 1}
    for call, named in (
        (v1.customers.provision, {"id": "new"}),
        (v1.features.create_feature, {"id": "new", "display_name": "N", "feature_type": "BOOLEAN"}),
        (v1.products.create_product, {"id": "new", "display_name": "N"}),
        (v1.plans.create, {"id": "new", "display_name": "N", "product_id": "main"}),
        (v1.addons.create, {"id": "new", "display_name": "N", "product_id": "main"}),
        (v1.subscriptions.provision, {"id": "new", "customer_id": "acme", "plan_id": "basic"}),
        (v1.subscriptions.update, {"id": subscribed.id, "metadata": {"a": "b"}}),
        (v1.events.report, {"events": [event]}),
        (v1.events.report, {"events": [event | {"surprise": 1}]}),
        (stigg.v2.usage.report, {"usages": [report]}),
        (stigg.v2.usage.report, {"usages": [report | {"surprise": 1}]}),
    ):
        with refused(BadRequestError, "BadUserInput"):
            call(**named, **surprise)
    assert [one.id for one in v1.customers.list()] == ["acme"]
    assert [one.id for one in v1.plans.list()] == ["basic"]
    assert [one.id for one in v1.products.list_products()] == ["main"]
    assert [one.id for one in v1.features.list_features()] == ["calls"]
    assert v1.subscriptions.retrieve(subscribed.id).data.metadata == {}
    assert check(stigg).current_usage == 0


# --- pages -------------------------------------------------------------------------------------


@pytest.fixture
def five(stigg: Any) -> list[str]:
    """The ids of five features, in their order."""
    made = [f"feature-{number}" for number in range(5)]
    for name in made:
        flag(stigg, name)
    return made


def test_a08_a09_pages_are_walked_to_their_end(five: list[str], clients: Clients, key: str) -> None:
    seen: list[httpx.Response] = []
    watched = clients.watched(key, seen.append)
    assert [one.id for one in watched.v1.features.list_features(limit=2)] == five
    urls = [response.request.url.params for response in seen]
    nexts = [httpx.QueryParams(url).get("after") for url in urls]
    assert len(nexts) == 3
    assert nexts[0] is None
    again = clients.of(key)
    page = again.v1.features.list_features(limit=2)
    assert page.pagination.next == nexts[1]
    assert again.v1.features.list_features(limit=2, after=nexts[2]).pagination.next is None


def test_pages_are_walked_backwards_too(five: list[str], stigg: Any) -> None:
    listing = stigg.v1.features.list_features
    middle = listing(limit=2, after=listing(limit=2).pagination.next)
    assert [one.id for one in middle.data] == five[2:4]
    back = listing(limit=2, before=middle.pagination.prev)
    assert [one.id for one in back.data] == five[:2]
    assert (back.pagination.prev, back.pagination.next is None) == (None, False)
    last = listing(limit=2, after=middle.pagination.next)
    assert [one.id for one in last.data] == five[4:]
    walked = [one.id for one in listing(limit=1, before=last.pagination.prev)]
    assert walked == five[3::-1]


def test_a_page_goes_on_where_it_ended_whatever_came_or_went(five: list[str], stigg: Any) -> None:
    first = stigg.v1.features.list_features(limit=2)
    flag(stigg, "feature-00")  # before that page's end
    flag(stigg, "feature-9")
    rest = stigg.v1.features.list_features(after=first.pagination.next)
    assert [one.id for one in rest.data] == [*five[2:], "feature-9"]


def test_a11_a12_a_page_has_1_to_100_items_and_20_by_default(
    stigg: Any, site: Site, key: str
) -> None:
    people: Any = [{"id": f"c-{n:03}", "email": None, "name": None} for n in range(101)]
    stigg.v1.customers.import_(customers=people)
    assert len(stigg.v1.customers.list().data) == 20
    assert len(stigg.v1.customers.list(limit=100).data) == 100
    assert len(list(stigg.v1.customers.list(limit=100))) == 101
    for limit in (0, 101, -1):
        with refused(BadRequestError, "BadUserInput"):
            stigg.v1.customers.list(limit=limit)
    for query in ("limit=two", "limit=1.5", "limit=1&limit=2", "after=nowhere", "before=%00"):
        answer = site.raw("GET", f"/api/v1/customers?{query}", key)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadUserInput")


def test_every_list_has_pages(stigg: Any) -> None:
    shop(stigg)
    stigg.v1.products.duplicate_product("main", target_id="copy")
    customer(stigg, "zeta")
    for name in ("acme", "zeta"):
        subscription(stigg, "basic", name)
    for listing in (
        stigg.v1.products.list_products,
        stigg.v1.plans.list,
        stigg.v1.customers.list,
        stigg.v1.subscriptions.list,
    ):
        pages = [listing(limit=1)]
        pages.append(listing(limit=1, after=pages[0].pagination.next))
        ids = [one.id for page in pages for one in page.data]
        assert len(set(ids)) == 2
        assert pages[1].pagination.next is None
        assert listing(before=pages[1].pagination.prev).data[0].id == ids[0]


# --- queries -----------------------------------------------------------------------------------


def test_a13_lists_in_a_query_are_joined_or_repeated(
    stigg: Any, clients: Clients, site: Site, key: str
) -> None:
    flag(stigg)
    feature(stigg, "calls")
    feature(stigg, "projects", meter_type="None")
    path = "/api/v1/features?"
    joined = site.raw("GET", path + "meterType=INCREMENTAL,None&featureType=NUMBER", key).json()
    repeated = site.raw(
        "GET", path + "meterType=INCREMENTAL&meterType=None&featureType=NUMBER", key
    ).json()
    assert [one["id"] for one in joined["data"]] == ["calls", "projects"]
    assert joined == repeated
    seen: list[httpx.Response] = []
    watched = clients.watched(key, seen.append)
    found = watched.v1.features.list_features(feature_type=["NUMBER", "ENUM"])
    assert [one.id for one in found.data] == ["calls", "projects"]
    assert seen[0].request.url.raw_path.endswith(b"featureType=NUMBER%2CENUM")
    with refused(BadRequestError, "BadUserInput"):
        stigg.v1.features.list_features(feature_type=["NUMBER", "WORD"])


def test_a14_lists_are_bounded_by_the_time_of_creation(stigg: Any, site: Site) -> None:
    moments = []
    for number in range(3):
        moments.append(later(site, seconds=1))
        flag(stigg, f"f-{number}")

    def ids(**bounds: Any) -> list[str]:
        return [one.id for one in stigg.v1.features.list_features(created_at=bounds)]

    middle = moments[1]
    assert ids(gte=middle) == ["f-1", "f-2"]
    assert ids(gt=middle) == ["f-2"]
    assert ids(lt=middle) == ["f-0"]
    assert ids(lte=middle) == ["f-0", "f-1"]
    assert ids(gt=moments[0], lt=moments[2]) == ["f-1"]
    assert ids(gte=middle.isoformat()) == ["f-1", "f-2"]
    assert ids(gte=middle.replace(tzinfo=None)) == ["f-1", "f-2"]  # naive means UTC
    with refused(BadRequestError, "BadUserInput"):
        ids(gte="yesterday")


def test_an_unknown_bound_of_the_time_of_creation_is_refused(site: Site, key: str) -> None:
    answer = site.raw("GET", "/api/v1/features?createdAt%5Babout%5D=2026-01-01T00:00:00Z", key)
    assert (answer.status_code, answer.json()["code"]) == (400, "BadUserInput")


def test_ids_may_need_escaping_in_paths(stigg: Any, site: Site) -> None:
    who = "org|user@x.io"
    shop(stigg)
    feature(stigg, "f/1")
    customer(stigg, who)
    assert stigg.v1.customers.retrieve(who).data.id == who
    assert stigg.v1.features.retrieve_feature("f/1").data.id == "f/1"
    assert stigg.v1.features.update_feature("f/1", description="d").data.description == "d"
    assert use(stigg, 4, "f/1", who) == 4
    start = time_of(site) - timedelta(days=1)
    past = stigg.v1.usage.history("f/1", customer_id=who, start_date=start).data
    assert past.series[0].points[-1].value == 4
    assert check(stigg, "f/1", who).access_denied_reason == "NoActiveSubscription"
    assert [one.id for one in stigg.v1.features.list_features(id="f/1")] == ["f/1"]


def test_null_is_stated_and_absence_is_not(stigg: Any) -> None:
    shop(stigg)
    made = customer(stigg, "new", name=None, email="a@b.c", timezone=None, billing_id=None)
    assert (made.name, made.email) == (None, "a@b.c")
    changed = stigg.v1.customers.update("new", name="N").data
    assert (changed.name, changed.email) == ("N", "a@b.c")
    assert stigg.v1.customers.update("new", email=None).data.email is None
    assert subscription(stigg, resource_id=None, minimum_spend=None).resource_id is None
    assert use(stigg, 2, resource_id=None) == 2
    assert check(stigg).current_usage == 2


def test_times_without_an_offset_are_utc(stigg: Any, site: Site) -> None:
    shop(stigg)
    start = (time_of(site) - timedelta(days=3)).replace(tzinfo=None)
    assert subscription(stigg, start_date=start).start_date.replace(tzinfo=None) == start
    asked: datetime = stigg.v1.customers.retrieve("acme").data.created_at
    assert asked.utcoffset() == timedelta(0)


# --- requests that are sent again ----------------------------------------------------------------


def keyed(key: str) -> Any:
    """What adds an ``Idempotency-Key`` to a call of the SDK."""
    return {"extra_headers": {"Idempotency-Key": key}}


def test_a19_a_request_sent_again_with_its_key_gets_the_first_answer(
    site: Site, key: str, stigg: Any
) -> None:
    body = {"id": "acme", "name": "A"}
    told = {"Idempotency-Key": "k-1"}
    first = site.raw("POST", "/api/v1/customers", key, json=body, headers=told)
    stigg.v1.customers.update("acme", name="B")
    again = site.raw("POST", "/api/v1/customers", key, json=body, headers=told)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert stigg.v1.customers.retrieve("acme").data.name == "B"
    assert len(stigg.v1.customers.list().data) == 1


def test_a19_a_key_belongs_to_one_body(stigg: Any) -> None:
    customer(stigg, "acme", **keyed("k"))
    assert customer(stigg, "acme", **keyed("k")).id == "acme"
    with refused(BadRequestError, "BadUserInput"):
        customer(stigg, "zeta", **keyed("k"))
    with refused(NotFoundError, "CustomerNotFound"):
        stigg.v1.customers.retrieve("zeta")


def test_a19_a_key_belongs_to_one_operation_of_one_environment(
    stigg: Any, clients: Clients, site: Site, environment: str
) -> None:
    customer(stigg, "acme", **keyed("k"))
    product(stigg, "acme", **keyed("k"))
    assert stigg.v1.customers.update("acme", name="N", **keyed("k")).data.name == "N"
    other = clients.of(site.key(f"{environment}-other"))
    assert customer(other, "zeta", **keyed("k")).id == "zeta"


def test_a19_a_refusal_is_not_kept(stigg: Any) -> None:
    with refused(NotFoundError, "ProductNotFoundError"):
        stigg.v1.products.archive_product("main", **keyed("k"))
    product(stigg)
    assert stigg.v1.products.archive_product("main", **keyed("k")).data.status == "ARCHIVED"


def test_a19_a_key_is_forgotten_after_a_day(stigg: Any, site: Site) -> None:
    customer(stigg, **keyed("k"))
    later(site, hours=24)
    assert customer(stigg, **keyed("k")).id == "acme"
    later(site, seconds=1)
    with refused(ConflictError, "DuplicatedEntityNotAllowed"):
        customer(stigg, **keyed("k"))


def test_a19_usage_without_keys_of_its_own_is_counted_once(stigg: Any) -> None:
    shop(stigg)
    report: Any = [{"customer_id": "acme", "feature_id": "calls", "value": 5}]
    answers = [stigg.v2.usage.report(usages=report, **keyed("k")).data.usages[0] for _ in range(3)]
    assert len({answer.id for answer in answers}) == 1
    assert use(stigg, 0) == 5


def test_a19_those_who_race_with_a_key_get_one_answer(site: Site, key: str) -> None:
    def send(_: int) -> httpx.Response:
        told = {"Idempotency-Key": "k"}
        return site.raw("POST", "/api/v1/customers", key, json={"id": "acme"}, headers=told)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1


# --- too much ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose inbox is full after one event or two."""
    folder = tmp_path_factory.mktemp("small") / "data"
    with Site(folder, "2026-01-20T12:00:00Z", TALLYSTICK_INBOX_MAX_BYTES="2000") as made:
        yield made


def big_event(key: str) -> Any:
    return {
        "customer_id": "acme", "event_name": "api_call", "idempotency_key": key,
        "dimensions": {"text": "x" * 1200},
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a20_the_sdk_repeats_what_was_refused_for_want_of_room(small: Site, kind: str) -> None:
    key, server = small.key(f"environment-{kind}"), small.server
    seen: list[httpx.Response] = []

    def see(response: httpx.Response) -> None:
        seen.append(response)
        os.kill(server.pid_of("worker-0"), signal.SIGCONT)

    with Clients(small.url, kind) as clients:
        stigg, patient = clients.of(key), clients.watched(key, see, max_retries=6)
        product(stigg)
        feature(stigg, meter=meter())
        plan(stigg, "basic", up_to(100))
        customer(stigg)
        subscription(stigg)
        with stopped_worker(server):
            stigg.v1.events.report(events=[big_event("first")])
            with refused(RateLimitError, "RateLimitExceeded"):
                stigg.v1.events.report(events=[big_event("second")])
            patient.v1.events.report(events=[big_event("second")])
        small.sync()
        assert check(stigg).current_usage == 2
    assert [response.status_code for response in (seen[0], seen[-1])] == [429, 200]
    assert 1 <= int(seen[0].headers["retry-after"]) <= 60
    repeats = [response.request.headers["x-stainless-retry-count"] for response in seen]
    assert repeats == [str(number) for number in range(len(seen))]
