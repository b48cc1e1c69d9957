"""What single tools write into JUnit XML: ids, reruns, times. Small copies of the shape of real reports."""

from __future__ import annotations

import pytest
from report_reading import STAMP, TEN, read, starts, told

from perennial.errors import MalformedInput


def suite(cases, attributes="", name="s"):
    return f'<testsuites><testsuite name="{name}" {STAMP} {attributes}>{cases}</testsuite></testsuites>'


def test_jest_titles_of_two_files_are_two_tests(tmp_path):
    report = read(
        tmp_path,
        f'<testsuites name="jest tests"><testsuite name="src/cart/view.test.tsx" {STAMP}>'
        '<testcase classname="" name="renders" time="0.1"/></testsuite>'
        f'<testsuite name="src/till/view.test.tsx" {STAMP}>'
        '<testcase classname="" name="renders" time="0.1"><failure>no</failure></testcase></testsuite></testsuites>',
    )
    assert told(report) == [
        ("src/cart/view.test.tsx::renders", False),
        ("src/till/view.test.tsx::renders", True),
    ]


def test_the_id_of_a_jest_title_does_not_depend_on_the_other_files(tmp_path):
    alone = read(tmp_path, suite('<testcase classname="" name="renders" time="0"/>', name="src/cart.test.ts"))
    assert told(alone) == [("src/cart.test.ts::renders", False)]
    repeated = '<testcase classname="adds" name="adds" file="src/cart.test.ts" time="0"/>'
    assert told(read(tmp_path, suite(repeated))) == [("src/cart.test.ts::adds", False)]


def test_phpunit_has_the_class_in_class(tmp_path):
    cases = "".join(
        f'<testcase name="testSave" class="App\\{name}" file="/ci/w1/tests/{name}.php" line="9" time="0.1"/>'
        for name in ("UserTest", "OrderTest")
    )
    report = read(tmp_path, suite(cases))
    assert told(report) == [("App\\UserTest::testSave", False), ("App\\OrderTest::testSave", False)]
    assert {run.area for run in report.executions} == {"App"}, "a path of the machine is no code area"


def test_playwright_projects_are_different_tests_in_every_build(tmp_path):
    def project(name, verdict=""):
        return (
            f'<testsuite name="cart.spec.ts" {STAMP} hostname="{name}">'
            f'<testcase classname="cart.spec.ts" name="adds" time="1">{verdict}</testcase></testsuite>'
        )

    both = read(
        tmp_path,
        f'<testsuites id="" name="">{project("chromium", "<failure/>")}{project("firefox")}</testsuites>',
    )
    assert told(both) == [("cart.spec.ts::adds [chromium]", True), ("cart.spec.ts::adds [firefox]", False)]
    one = read(tmp_path, f'<testsuites id="" name="">{project("chromium")}</testsuites>')
    assert told(one) == [("cart.spec.ts::adds [chromium]", False)]
    merged = read(tmp_path, f"<testsuites>{project('chromium')}{project('firefox')}</testsuites>")
    assert len({test_id for test_id, _ in told(merged)}) == 2


def test_the_host_of_a_machine_is_no_part_of_an_id(tmp_path):
    def on(host):
        return suite('<testcase classname="t.a" name="x" time="1"/>', f'hostname="{host}"', "pytest")

    assert told(read(tmp_path, on("runner-1"))) == told(read(tmp_path, on("runner-2"))) == [("t.a::x", False)]


def test_suites_that_only_their_name_tells_apart(tmp_path):
    def browser(name):
        return (
            f'<testsuite name="{name}" {STAMP}><testcase classname="cart" name="adds" time="1"/></testsuite>'
        )

    report = read(
        tmp_path, f"<testsuites>{browser('Chrome')}{browser('Firefox')}{browser('Chrome')}</testsuites>"
    )
    assert told(report) == [
        ("Chrome::cart::adds", False), ("Firefox::cart::adds", False), ("Chrome::cart::adds", False),
    ], "the same suite again is a retry"  # fmt: skip


def test_suites_that_only_a_property_tells_apart(tmp_path):
    def browser(name):
        properties = f'<properties><property name="browser" value="{name}"/></properties>'
        return f'<testsuite name="s" {STAMP}>{properties}<testcase classname="cart" name="adds" time="1"/></testsuite>'

    report = read(tmp_path, f"<testsuites>{browser('chrome')}{browser('edge')}</testsuites>")
    assert told(report) == [("chrome::cart::adds", False), ("edge::cart::adds", False)]


def test_node_tests_are_named_by_their_suite(tmp_path):
    cases = "".join(
        f'<testsuite name="{name}"><testcase name="works" classname="test" file="/w/a.test.js" time="0"/></testsuite>'
        for name in ("cart", "till")
    )
    assert told(read(tmp_path, f"<testsuites {STAMP}>{cases}</testsuites>")) == [
        ("cart::works", False),
        ("till::works", False),
    ]


def test_mocha_names_the_file_in_the_root_suite_alone(tmp_path):
    def file(name):
        return (
            f'<testsuite name="Root Suite" {STAMP} file="{name}"/>'
            f'<testsuite name="Cart" {STAMP}><testcase name="Cart adds" classname="adds" time="0"/></testsuite>'
        )

    report = read(tmp_path, f"<testsuites>{file('a.cy.js')}{file('b.cy.js')}</testsuites>")
    assert told(report) == [("a.cy.js::adds::Cart adds", False), ("b.cy.js::adds::Cart adds", False)]


@pytest.mark.parametrize(
    ("children", "verdicts"),
    [
        ('<rerunFailure message="1">t</rerunFailure><rerunError/>', [1, 1]),
        ("<failure/><rerunFailure/><rerunFailure/>", [1, 1, 1]),
        ("<error/><rerunError/>", [1, 1]),
        ("<flakyFailure/><flakyError/>", [1, 1, 0]),
        ("<failure/><failure/>", [1]),
        ("<skipped/><failure/>", [1]),
        ("<flakyFailure/><skipped/>", [1]),
        ("<system-out/>", [0]),
    ],
)
def test_surefire_and_gtest_children_are_runs(tmp_path, children, verdicts):
    report = read(
        tmp_path, suite(f'<testcase classname="com.acme.T" name="a" time="1">{children}</testcase>')
    )
    assert [int(run.failed) for run in report.executions] == verdicts


def test_nextest_reruns_have_their_own_times(tmp_path):
    report = read(
        tmp_path,
        '<testsuites name="run" timestamp="2025-03-01T10:00:00.000+00:00" time="9"><testsuite name="crate::bin">'
        '<testcase name="flaky" classname="crate::bin" timestamp="2025-03-01T10:00:05Z" time="2">'
        '<flakyFailure timestamp="2025-03-01T10:00:01Z" time="3" type="test failure"/></testcase>'
        '<testcase name="slow" classname="crate::bin" timestamp="2025-03-01T10:00:00Z" time="9"/>'
        "</testsuite></testsuites>",
    )
    assert told(report) == [
        ("crate::bin::flaky", True),
        ("crate::bin::flaky", False),
        ("crate::bin::slow", False),
    ]
    assert starts(report) == [1, 5, 0]
    assert [run.duration_ms for run in report.executions] == [3000, 2000, 9000]


def pytest_report(*cases):
    found = "".join(
        f'<testcase classname="t" name="{name}" time="0.1">{inside}</testcase>' for name, inside in cases
    )
    return f'<testsuites name="pytest tests">{suite(found, name="pytest").removeprefix("<testsuites>")}'


TEARDOWN = '<error message="failed on teardown with &quot;E&quot;"/>'


@pytest.mark.parametrize(
    ("cases", "verdicts"),
    [
        ([("x", "<failure/>"), ("x", TEARDOWN)], [1]),
        ([("x", TEARDOWN)], [1]),
        ([("x", ""), ("x", ""), ("x", "")], [1, 1, 0]),
        ([("x", ""), ("y", ""), ("x", "<failure/>"), ("x", TEARDOWN)], [1, 0, 1]),
        ([("x", "<skipped/>"), ("x", "")], [0]),
    ],
    ids=["call and teardown", "teardown", "passed at last", "never passed", "skipped"],
)
def test_pytest_repeats_a_testcase_for_a_rerun_and_for_a_teardown(tmp_path, cases, verdicts):
    assert [int(run.failed) for run in read(tmp_path, pytest_report(*cases)).executions] == verdicts


def test_other_tools_repeat_a_testcase_for_a_retry(tmp_path):
    again = '<testcase classname="pkg" name="TestX" time="1">{}</testcase>'
    report = read(tmp_path, suite(again.format("<failure/>") + again.format(""), name="pkg"))
    assert told(report) == [("pkg::TestX", True), ("pkg::TestX", False)]


def test_tests_of_parallel_workers_lie_within_their_suite(tmp_path):
    cases = "".join(f'<testcase classname="t.a" name="t{n}" time="60"/>' for n in range(40))
    report = read(tmp_path, suite(cases, 'time="610"', "pytest"))
    assert min(starts(report)) == 0
    assert max(starts(report)) <= 550
    assert starts(report) == sorted(starts(report))
    assert {run.duration_ms for run in report.executions} == {60_000}


def test_no_start_lies_in_the_future(tmp_path):
    cases = "".join(f'<testcase classname="t.a" name="t{n}" time="3600"/>' for n in range(40))
    now = TEN.replace(hour=12)
    report = read(tmp_path, suite(cases), now=now)
    assert max(run.started_at for run in report.executions) <= now
    ahead = suite('<testcase classname="c" name="a" time="1"/>').replace("T10:00:00Z", "T12:10:00Z")
    assert [run.started_at for run in read(tmp_path, ahead, now=now).executions] == [now]
    months = suite(cases.replace("3600", "90000"), 'time="7000"')
    assert max(run.started_at for run in read(tmp_path, months, now=now).executions) <= now


def test_a_suite_without_a_time_takes_that_of_its_report(tmp_path):
    case = '<testcase classname="c" name="{}" time="2"/>'
    report = read(
        tmp_path,
        f'<testsuites><testsuite name="a">{case.format("x")}</testsuite>'
        f'<testsuite name="b" {STAMP}>{case.format("y")}</testsuite>'
        f'<testsuite name="c">{case.format("z")}</testsuite></testsuites>',
    )
    assert starts(report) == [0, 0, 2]


@pytest.mark.parametrize(
    "attributes",
    [
        'status="skipped"',
        'status="notrun"',
        'status="run" result="suppressed"',
        'status="disabled"',
        'executed="False"',
    ],
)
def test_what_did_not_run_is_counted_only(tmp_path, attributes):
    report = read(tmp_path, suite(f'<testcase classname="c" name="a" time="0" {attributes}/>'))
    assert (report.executions, report.skipped) == ((), 1)


def test_a_failed_set_up_of_a_class_is_a_failed_test(tmp_path):
    report = read(tmp_path, suite('<testcase classname="com.acme.T" name="" time="0"><failure/></testcase>'))
    assert told(report) == [("com.acme.T", True)]


def test_a_case_that_cannot_be_read_is_left_out_and_named(tmp_path):
    cases = '\n<testcase name="" classname=""/>\n<testcase name="t" time="1s"/>\n<testcase name="ok" time="-0.004"/>'
    report = read(tmp_path, suite(cases))
    assert told(report) == [("s::t", False), ("s::ok", False)]
    assert [run.duration_ms for run in report.executions] == [0, 0]
    first, second = report.left_out
    assert first.startswith(f"{tmp_path / 'r.xml'}:2: a testcase has no name")
    assert second.startswith(f"{tmp_path / 'r.xml'}:3: time is '1s'")
    with pytest.raises(MalformedInput, match=r"r\.xml:2: a testcase has no name"):
        read(tmp_path, suite(cases), strict=True)


def test_a_missing_duration_is_counted(tmp_path):
    report = read(tmp_path, suite('<testcase classname="c" name="a"/>'))
    assert (report.executions[0].duration_ms, report.untimed) == (0, 1)


def test_a_title_that_jest_writes_twice_is_two_tests(tmp_path):
    case = '<testcase classname="a" name="a" time="0"/>'
    report = read(tmp_path, f'<testsuites name="jest tests">{suite(case * 2).removeprefix("<testsuites>")}')
    assert told(report) == [("s::a", False), ("s::a (2)", False)]
    suites = suite(case).removeprefix("<testsuites>").removesuffix("</testsuites>") * 2
    assert told(read(tmp_path, f'<testsuites name="vitest tests">{suites}</testsuites>')) == told(report)


@pytest.mark.parametrize("unset", ["0001-01-01T00:00:00", "1970-01-01T00:00:00", "1970-01-01T00:00:00.000Z"])
def test_a_time_that_the_tool_does_not_know_is_none(tmp_path, unset):
    case = f'<testcase classname="c" name="a" time="0" timestamp="{unset}"/>'
    report = read(
        tmp_path,
        suite(case, f'timestamp="{unset}"')
        .replace(STAMP, "", 1)
        .replace("<testsuites", f"<testsuites {STAMP}"),
    )
    assert (starts(report), report.left_out) == ([0], ())


def test_a_suite_that_does_not_compile_is_counted(tmp_path):
    report = read(tmp_path, suite('<error message="cannot compile">x</error>'))
    assert (report.executions, report.suite_errors) == ((), 1)


def test_namespaces_are_no_part_of_a_name(tmp_path):
    inside = f'<testsuite name="s" {STAMP}><testcase classname="t.a" name="x" time="1"/></testsuite>'
    for root in ('<testsuites xmlns="https://example.org/junit">', '<testsuites xmlns:x="urn:x" x:y="z">'):
        assert told(read(tmp_path, f"{root}{inside}</testsuites>")) == [("t.a::x", False)]
    prefixed = inside.replace("<test", "<j:test").replace("</test", "</j:test")
    assert told(read(tmp_path, f'<j:testsuites xmlns:j="urn:j">{prefixed}</j:testsuites>')) == [
        ("t.a::x", False)
    ]
