"""xUnit.net, NUnit, TestNG, TRX and CTRF become the same rows."""

from __future__ import annotations

import json

import pytest
from report_reading import read, starts, told

from perennial.errors import MalformedInput

XUNIT_2 = """<assemblies timestamp="03/01/2025 10:00:00"><assembly name="C:\\ci\\Acme.Tests.dll" run-date="2025-03-01"
 run-time="10:00:00" time="1.5" total="3"><errors />
<collection name="Test collection for Acme.PayTest" time="1.5">
<test name="Acme.PayTest.Pays(amount: 1.5)" type="Acme.PayTest" method="Pays" time="1.0" result="Pass"><traits/></test>
<test name="Acme.PayTest.Fails" type="Acme.PayTest" method="Fails" time="0.5" result="Fail"><failure/></test>
<test name="Shown name" type="Acme.PayTest" method="Other" time="0" result="Skip"><reason/></test>
</collection></assembly></assemblies>"""

XUNIT_3 = """<assemblies schema-version="3"><assembly name="/ci/Acme" start-rtf="2025-03-01T11:00:00.0000000+01:00">
<collection name="c"><test name="Acme.T.A" type="Acme.T" time="0.1" result="Fail" start-rtf="2025-03-01T10:00:02Z"/>
<test name="Acme.T.B" type="Acme.T" time="0.1" result="NotRun"/></collection></assembly></assemblies>"""

NUNIT_3 = """<test-run id="2" testcasecount="4" result="Failed" start-time="2025-03-01 10:00:00Z" duration="3">
<test-suite type="Assembly" name="Acme.dll" start-time="2025-03-01 10:00:00Z">
<test-suite type="TestFixture" name="PayTest" fullname="Acme.PayTest">
<test-case name="Pays(1.5)" fullname="Acme.PayTest.Pays(1.5)" classname="Acme.PayTest" result="Passed"
 start-time="2025-03-01 10:00:01Z" duration="0.25"/>
<test-case name="Bad" fullname="Acme.PayTest.Bad" classname="Acme.PayTest" result="Failed" label="Error"
 start-time="2025-03-01 10:00:02Z" duration="0.5"><failure/></test-case>
<test-case name="Off" fullname="Acme.PayTest.Off" classname="Acme.PayTest" result="Skipped" label="Ignored"/>
<test-case name="Maybe" fullname="Acme.PayTest.Maybe" classname="Acme.PayTest" result="Inconclusive"/>
</test-suite></test-suite></test-run>"""

NUNIT_2 = """<test-results name="Acme.dll" total="2" date="2025-03-01" time="10:00:00">
<test-suite type="Assembly"><results>
<test-case name="Acme.PayTest.Pays(1.5)" executed="True" result="Success" success="True" time="1.000"/>
<test-case name="Acme.PayTest.Bad" executed="True" success="False" time="0.012"><failure/></test-case>
<test-case name="Acme.PayTest.Off" executed="False" result="Ignored"/></results></test-suite></test-results>"""

TESTNG = """<testng-results skipped="1" failed="1" total="4" passed="2">
<suite name="S" started-at="2025-03-01T10:00:00 UTC">
<test name="T" started-at="2025-03-01T10:00:00 UTC"><class name="com.acme.PayTest">
<test-method name="setUp" is-config="true" status="PASS" duration-ms="5" started-at="2025-03-01T10:00:00 UTC"/>
<test-method name="pays" status="PASS" duration-ms="1500" started-at="2025-03-01T10:00:01 UTC"><params>
<param index="0"><value><![CDATA[eur]]></value></param><param index="1"><value>2</value></param></params></test-method>
<test-method name="pays" status="FAIL" duration-ms="10" started-at="2025-03-01T10:00:03 UTC"><params>
<param index="0"><value><![CDATA[usd]]></value></param></params><exception/></test-method>
<test-method name="flaky" retried="true" status="SKIP" duration-ms="1" started-at="2025-03-01T10:00:04 UTC"/>
<test-method name="flaky" status="PASS" duration-ms="1" started-at="2025-03-01T10:00:05 UTC"/>
<test-method name="off" status="SKIP" duration-ms="0" started-at="2025-03-01T10:00:06 UTC"/>
</class></test></suite></testng-results>"""

TRX = """<?xml version="1.0" encoding="utf-8"?>
<TestRun id="1" xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010">
<Times creation="2025-03-01T11:00:00+01:00" start="2025-03-01T11:00:00.0000000+01:00"/><Results>
<UnitTestResult testId="a" testName="Pays" duration="00:00:01.5000000" startTime="2025-03-01T11:00:01+01:00"
 outcome="Passed"><Output><StdOut>log</StdOut></Output></UnitTestResult>
<UnitTestResult testId="b" testName="Acme.PayTest.Bad" duration="00:00:00.01" startTime="2025-03-01T11:00:02+01:00"
 outcome="Failed"/>
<UnitTestResult testId="c" testName="Rows" outcome="Failed"><InnerResults>
<UnitTestResult testId="c" testName="Rows (1)" duration="00:00:00" startTime="2025-03-01T11:00:03+01:00"
 outcome="Passed"/>
<UnitTestResult testId="c" testName="Rows (2)" duration="00:00:00" startTime="2025-03-01T11:00:03+01:00"
 outcome="Failed"/>
</InnerResults></UnitTestResult>
<UnitTestResult testId="d" testName="Off" outcome="NotExecuted"/></Results>
<TestDefinitions>
<UnitTest name="Pays" id="a"><TestMethod className="Acme.PayTest, Acme, Version=1.0" name="Pays"/></UnitTest>
<UnitTest name="Bad" id="b"><TestMethod className="Acme.PayTest" name="Bad"/></UnitTest>
<UnitTest name="Rows" id="c"><TestMethod className="Acme.PayTest" name="Rows"/></UnitTest>
</TestDefinitions></TestRun>"""

CTRF = {
    "reportFormat": "CTRF",
    "results": {
        "tool": {"name": "playwright"},
        "summary": {"tests": 5, "start": 1740823200000, "stop": 1740823210000},
        "tests": [
            {
                "name": "adds",
                "status": "passed",
                "duration": 1500,
                "suite": "cart",
                "filePath": "cart.spec.ts",
            },
            {
                "name": "adds",
                "status": "failed",
                "duration": 10,
                "suite": ["till", "sum"],
                "start": 1740823203,
            },
            {
                "name": "flaky",
                "status": "passed",
                "duration": 5,
                "retries": 2,
                "flaky": True,
                "browser": "chrome 118",
            },
            {"name": "off", "status": "skipped", "duration": 0},
            {"name": "later", "status": "pending", "duration": 0},
        ],
    },
}


@pytest.mark.parametrize(
    ("content", "wanted", "skipped"),
    [
        (XUNIT_2, [("Acme.PayTest::Pays(amount: 1.5)", 0, 0, 1000), ("Acme.PayTest::Fails", 1, 1, 500)], 1),
        (XUNIT_3, [("Acme.T::A", 1, 2, 100)], 1),
        (NUNIT_3, [("Acme.PayTest::Pays(1.5)", 0, 1, 250), ("Acme.PayTest::Bad", 1, 2, 500)], 2),
        (NUNIT_2, [("Acme.PayTest::Pays(1.5)", 0, 0, 1000), ("Acme.PayTest::Bad", 1, 1, 12)], 1),
        (
            TESTNG,
            [
                ("com.acme.PayTest::pays(eur, 2)", 0, 1, 1500),
                ("com.acme.PayTest::pays(usd)", 1, 3, 10),
                ("com.acme.PayTest::flaky", 1, 4, 1),
                ("com.acme.PayTest::flaky", 0, 5, 1),
            ],
            1,
        ),
        (
            TRX,
            [
                ("Acme.PayTest::Pays", 0, 1, 1500),
                ("Acme.PayTest::Bad", 1, 2, 10),
                ("Acme.PayTest::Rows (1)", 0, 3, 0),
                ("Acme.PayTest::Rows (2)", 1, 3, 0),
            ],
            1,
        ),
        (
            json.dumps(CTRF),
            [
                ("cart::adds", 0, 0, 1500),
                ("till::sum::adds", 1, 3, 10),
                *[
                    ("flaky [chrome]", failed, start, 5)
                    for failed, start in ((1, 3.01), (1, 3.015), (0, 3.02))
                ],
            ],
            2,
        ),
    ],
    ids=["xunit 2", "xunit 3", "nunit 3", "nunit 2", "testng", "trx", "ctrf"],
)
def test_rows(tmp_path, content, wanted, skipped):
    report = read(tmp_path, content)
    rows = zip(told(report), starts(report), report.executions, strict=True)
    assert [(*verdict, start, run.duration_ms) for verdict, start, run in rows] == wanted
    assert report.skipped == skipped
    assert report.left_out == ()


def test_nunit_fixtures_with_the_same_tests_are_different_tests(tmp_path):
    case = '<test-case name="Reads" executed="True" result="Success" time="1"/>'
    fixtures = "".join(
        f'<test-suite type="Fixture" name="{name}">{case}</test-suite>' for name in ("Quick", "Full")
    )
    report = read(tmp_path, f'<test-results date="2025-03-01" time="26.1">{fixtures}</test-results>')
    assert told(report) == [("Quick::Reads", False), ("Full::Reads", False)]


def test_testng_instances_and_suites_are_different_tests(tmp_path):
    method = '<test-method name="a" status="PASS" duration-ms="1" started-at="2025-03-01T10:00:00Z"{}/>'
    suites = "".join(
        f'<suite name="{name}"><test name="t"><class name="T">{method.format(instance)}</class></test></suite>'
        for name, instance in (("chrome", ""), ("edge", ""), ("edge", ' test-instance-name="NFS"'))
    )
    report = read(tmp_path, f"<testng-results>{suites}</testng-results>")
    assert told(report) == [("chrome::T::a", False), ("edge::T::a", False), ("T::a [NFS]", False)]


def test_older_nunit_writes_date_and_time_apart(tmp_path):
    apart = NUNIT_3.replace(
        'start-time="2025-03-01 10:00:00Z" dur', 'run-date="2025-03-01" start-time="10:00:00" dur'
    )
    report = read(tmp_path, apart.replace('start-time="2025-03-01 10:00:0', 'unknown="'))
    assert (starts(report), report.left_out) == ([0, 0.25], ())


@pytest.mark.parametrize(
    "test",
    [
        {"status": "passed", "duration": 1},
        {"name": "a", "status": "passed", "duration": "1s"},
        {"name": "a", "status": "passed", "duration": 1, "retries": 1e9},
        {"name": "a", "status": "passed", "duration": True},
        "a",
    ],
)
def test_a_bad_test_of_ctrf_is_left_out_and_named(tmp_path, test):
    report = json.loads(json.dumps(CTRF))
    report["results"]["tests"][0] = test
    left = read(tmp_path, json.dumps(report)).left_out
    assert len(left) == 1
    assert "results.tests[0]" in left[0]


@pytest.mark.parametrize(
    "content", ["{", '{"results": []}', '{"results": {"tests": {}}}', '{"a": ' + "[" * 100_000]
)
def test_json_that_is_no_ctrf_is_refused(tmp_path, content):
    with pytest.raises(MalformedInput, match=r"r\.xml:1: "):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (XUNIT_2.replace('time="1.0"', 'time="soon"'), "r.xml:4: time is 'soon'"),
        (
            NUNIT_3.replace('fullname="Acme.PayTest.Bad" classname="Acme.PayTest"', "").replace(
                'name="Bad"', ""
            ),
            "no name",
        ),
        (TESTNG.replace('name="flaky" status', "status"), "no name"),
        (
            TRX.replace('testName="Pays"', "").replace('className="Acme.PayTest, Acme, Version=1.0"', ""),
            "no testName",
        ),
    ],
    ids=["xunit", "nunit", "testng", "trx"],
)
def test_a_bad_test_is_left_out_and_named(tmp_path, content, named):
    report = read(tmp_path, content)
    assert report.executions
    assert named in report.left_out[0]
