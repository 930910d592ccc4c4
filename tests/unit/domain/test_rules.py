"""The table of failures: ordered, extendable, without holes; refused where a rule says nothing."""

from time import process_time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import exit_codes as x
from domain import expression
from domain.held import BUILT_IN as HELD
from domain.job import JobType
from domain.rules import BOOK, BUILT_IN, TEXT_END, UNKNOWN, Action, Blame, Evidence, Rule, RuleBook, classify, ranges

CODES = st.integers(0, 100_000)


@pytest.mark.feature("PA-405")
@given(CODES)
def test_every_code_has_a_meaning(code: int) -> None:
    rule = classify(code)
    assert rule.name
    if rule is not UNKNOWN:
        coded = any(low <= code <= high for low, high in ranges(rule.codes))
        assert coded or code - x.SIGNALLED in rule.signals


@pytest.mark.feature("PA-405")
def test_no_rule_hides_another_and_every_number_of_ours_has_one() -> None:
    reached = {BOOK.classify(Evidence(code)) for code in range(100_000)}
    reached |= {BOOK.classify(Evidence(x.SUBMIT_REFUSED, "over the limit of the target: cores 9, at most 8"))}
    reached |= {BOOK.classify(Evidence(x.REPORT_MISSING, said=said)) for said in ("NODE_FAIL", "PREEMPTED")}
    assert [rule.name for rule in BUILT_IN if rule not in reached] == []
    ours = {name: code for name, code in vars(x).items() if name.isupper() and name not in ("OK", "SIGNALLED")}
    assert [name for name, code in ours.items() if classify(code) is UNKNOWN] == []
    assert len({rule.name for rule in BUILT_IN}) == len(BUILT_IN)


@pytest.mark.feature("PA-405")
@pytest.mark.parametrize(
    ("evidence", "name", "blame"),
    [
        (Evidence(x.REPORT_MISSING, said="NODE_FAIL"), "the node failed", Blame.NODE),
        (Evidence(x.REPORT_MISSING, said="PREEMPTED"), "preempted", Blame.NOBODY),
        (Evidence(x.REPORT_MISSING, said="COMPLETED"), "report missing", Blame.INFRASTRUCTURE),
        (Evidence(x.HELD, "held by a: QOSMaxWallDurationPerJobLimit"), "more than the target gives", Blame.NOBODY),
        (Evidence(x.HELD, "held by a: SPECIAL_EXIT"), "held by the batch system", Blame.SITE),
        (Evidence(137), "payload killed (SIGKILL)", Blame.INFRASTRUCTURE),
        (Evidence(139), "payload failed", Blame.PAYLOAD),
        (Evidence(77_777), "unknown exit code", Blame.PAYLOAD),
        (Evidence(0), "unknown exit code", Blame.PAYLOAD),
    ],
)
def test_the_word_of_the_batch_system_decides_between_two_with_one_code(
    evidence: Evidence, name: str, blame: Blame
) -> None:
    assert (BOOK.classify(evidence).name, BOOK.classify(evidence).blame) == (name, blame)


LICENCE = Rule(name="licence server away", codes="1, 70-79", text="licen[cs]e", blame=Blame.SITE, action=Action.WAIT)
CRASH = Rule(name="crash in merging", signals=(11,), types=(JobType.MERGE,), action=Action.FAIL)


@pytest.mark.feature("PA-405")
@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        (Evidence(1, "payload: no license"), "licence server away"),
        (Evidence(75, "exit code 75", log="...\nFATAL: licence expired\n"), "licence server away"),
        (Evidence(80, "no license"), "payload failed"),
        (Evidence(1, "exit code 1"), "payload failed"),
        (Evidence(139, type=JobType.MERGE), "crash in merging"),
        (Evidence(139), "payload failed"),
    ],
)
def test_rules_of_the_configuration_come_first(evidence: Evidence, name: str) -> None:
    assert RuleBook([LICENCE, CRASH]).classify(evidence).name == name


@pytest.mark.feature("PA-405")
def test_the_order_decides_and_a_rule_that_is_gone_is_found_by_its_code() -> None:
    mild, strict = Rule(name="mild", codes="5"), Rule(name="strict", codes="1-9", action=Action.FAIL)
    assert [RuleBook(rules).classify(Evidence(5)).name for rules in ([mild, strict], [strict, mild])] == [
        "mild",
        "strict",
    ]
    book = RuleBook([mild])
    assert book.named("mild", 7).name == "mild"
    assert book.named("strict", x.MEMORY).name == "memory limit"
    assert book.named(None, None) is UNKNOWN


@pytest.mark.feature("PA-406")
def test_codes_that_are_accepted_are_those_of_the_payload_alone() -> None:
    warned = Rule(name="ended with warnings", codes="3-4", types=(JobType.PROCESSING,), action=Action.ACCEPT)
    never = Rule(name="never", codes="4", action=Action.FAIL)
    assert RuleBook([warned]).accepted(JobType.PROCESSING) == [3, 4]
    assert RuleBook([warned]).accepted(JobType.MERGE) == []
    assert RuleBook([never, warned]).accepted(JobType.PROCESSING) == [3]
    assert BOOK.accepted(JobType.PROCESSING) == []


@pytest.mark.feature("PA-405", "PA-406")
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"name": "all"}, "matches everything"),
        ({"name": "back", "codes": "9-1"}, "runs backwards"),
        ({"name": "torn", "text": "("}, "text is no regular expression"),
        ({"name": "torn", "said": "*"}, "said is no regular expression"),
        ({"name": "back", "text": r"(a)\1"}, "expected RE2, which has no look-around and no back-references"),
        ({"name": "ahead", "said": "a(?=b)"}, "said is no regular expression"),
        ({"name": "vast", "text": "(a{1000}){1000}"}, "text is no regular expression"),
        ({"name": "far", "codes": "50660", "action": "accept"}, "accept needs exit codes 1 to 255"),
        ({"name": "seen", "codes": "3", "text": "fine", "action": "accept"}, "accept needs exit codes 1 to 255"),
        ({"name": "odd", "codes": "x"}, "codes"),
        ({"name": "odd", "codes": "1", "blame": "moon"}, "moon"),
        ({"name": "", "codes": "1"}, "name"),
        ({"name": "odd", "code": "1"}, "code"),
    ],
)
def test_what_is_no_rule_is_refused(given: dict[str, object], text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=text):
        msgspec.convert(given, Rule)


@pytest.mark.feature("PA-405")
@pytest.mark.parametrize("text", ["(a+)+$", "(a|aa)+$", "(.*a){20}b", r"^(\w+\s?)*$", "(x+x+)+y"])
def test_no_expression_of_an_operator_holds_whoever_books_a_failure(text: str) -> None:
    """Python's own engine needs longer than the universe is old for most of these; a hundred failures are booked at once."""
    book = RuleBook([Rule(name="trap", text=text)])
    logs = [letter * TEXT_END + "!" for letter in ("a", "x", "a ", "\u00e4")]
    begun = process_time()
    for log in logs * 25:
        book.classify(Evidence(1, "payload: exit code 1", log))
    assert process_time() - begun < 1.0


@pytest.mark.feature("PA-405", "PA-315")
def test_every_expression_of_ours_is_one() -> None:
    for text in {one for rule in BUILT_IN for one in (rule.said, rule.text)} | {rule.said for rule in HELD}:
        expression.check("text", text)


@pytest.mark.feature("PA-310")
@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("over the limit of the target: wall time 216001 s, at most 216000 s", Action.ELSEWHERE),
        ("the job asks for 2 cores, a pilot has 1", Action.ELSEWHERE),
        ("Requested node configuration is not available", Action.ELSEWHERE),
        ("Requested time limit is invalid (missing or exceeds some limit)", Action.ELSEWHERE),
        ("Memory specification can not be satisfied", Action.ELSEWHERE),
        ("CPU count per node can not be satisfied", Action.ELSEWHERE),
        ("ERROR: Failed to commit job submission into the queue. ERROR: at most 4 cores here", Action.ELSEWHERE),
        ("Invalid account or account/partition combination specified", Action.RETRY),
        ("Invalid partition name specified", Action.RETRY),
        ("the token was asked for before it was submitted", Action.RETRY),
    ],
)
def test_what_a_job_asks_for_is_told_from_what_a_site_is_set_up_wrong(said: str, action: Action) -> None:
    assert BOOK.classify(Evidence(x.SUBMIT_REFUSED, said)).action is action
    assert BOOK.classify(Evidence(1, said)).action is Action.RETRY, "a payload that prints it is no refusal"
