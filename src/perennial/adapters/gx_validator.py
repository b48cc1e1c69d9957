"""The Validator port over Great Expectations: a temporary context and a data-docs site per check."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

# Read at import: without it the library reports its use over the network.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import perennial.adapters.json_schema  # noqa: F401 before the library imports jsonschema

# isort: split
import great_expectations as gx
import pandas as pd
from great_expectations.checkpoint import Checkpoint, UpdateDataDocsAction
from great_expectations.core import ExpectationSuite, ExpectationValidationResult, ValidationDefinition
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from perennial.core.training.data import CheckReport, FailedRule
from perennial.core.training.expectations import Expectation, Suite
from perennial.errors import SpecError

SITE = "docs"
NUMBER = "rule_number"
SAMPLE_ROWS = 3
# Only COMPLETE lists the rows that break a rule.
RESULT_FORMAT = "COMPLETE"


class GxValidator:
    """The Validator port."""

    def check(self, suite: Suite, table: pd.DataFrame, docs: Path) -> CheckReport:
        """Run a suite over a table; `docs`/<suite>/index.html shows the last check."""
        rules = [_configured(rule, suite) for rule in suite.expectations]
        table = table.reset_index(drop=True)
        site = docs / suite.name
        results = _run(suite.name, rules, table, site)
        # The library returns the results in another order.
        results.sort(key=_rule_number)
        return CheckReport(
            suite=suite.name,
            table=suite.name,
            rows=len(table),
            rules=len(rules),
            failed=tuple(
                _failed(suite.expectations[_rule_number(result)], result, table)
                for result in results
                if not result.success
            ),
            docs=str(site / "index.html"),
        )


def _configured(rule: Expectation, suite: Suite) -> dict[str, Any]:
    """Return the rule in the form of the library; build it alone, so that an error can name it."""
    number = suite.expectations.index(rule)
    configured = {"type": rule.type, "kwargs": dict(rule.kwargs), "meta": {NUMBER: number}}
    if rule.description:
        configured["description"] = rule.description
    try:
        ExpectationConfiguration(**configured).to_domain_obj()
    except (GreatExpectationsError, ValueError) as error:
        raise SpecError(
            f"suite {suite.name}: rule {number + 1}, {rule.type}: {' '.join(str(error).split())}",
            hint="the rules are those of Great Expectations, with their arguments under kwargs",
        ) from error
    return configured


def _run(
    name: str, rules: list[dict[str, Any]], table: pd.DataFrame, site: Path
) -> list[ExpectationValidationResult]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    for default in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(default)
    if site.exists():
        shutil.rmtree(site)
    context.add_data_docs_site(SITE, _site(site))
    asset = context.data_sources.add_pandas("perennial").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole")
    definition = context.validation_definitions.add(
        ValidationDefinition(
            name=name,
            data=batch,
            suite=context.suites.add(ExpectationSuite(name=name, expectations=rules)),
        )
    )
    checkpoint = context.checkpoints.add(
        Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name=SITE, site_names=[SITE])],
            result_format=RESULT_FORMAT,
        )
    )
    done = checkpoint.run(batch_parameters={"dataframe": table})
    (result,) = done.run_results.values()
    return list(result.results)


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder.resolve()),
        },
    }


def _rule_number(result: ExpectationValidationResult) -> int:
    """Return the number of the rule that a result belongs to, which is kept in `meta`."""
    return result.expectation_config.meta[NUMBER]


def _failed(rule: Expectation, result: ExpectationValidationResult, table: pd.DataFrame) -> FailedRule:
    column = rule.kwargs.get("column")
    if column is not None and column not in table.columns:
        return FailedRule(rule=rule.type, column=column, observed="the table has no such column")
    details = result.result
    if not details:
        return FailedRule(rule=rule.type, column=rule.about, observed=_raised(result))
    wrong = details.get("unexpected_index_list") or []
    sample = table.loc[wrong[:SAMPLE_ROWS]]
    observed = f"{len(wrong)} rows" if wrong else str(details.get("observed_value"))
    return FailedRule(
        rule=rule.type,
        column=rule.about,
        observed=f"{observed}; wanted: {rule.wanted}" if rule.wanted else observed,
        broken=len(wrong),
        rows=tuple(json.loads(sample.to_json(orient="records", date_format="iso"))),
    )


def _raised(result: ExpectationValidationResult) -> str:
    """Return the exceptions of a check: `exception_info` is a record, or a record per metric."""
    info = result.exception_info or {}
    records = [info] if "exception_message" in info else list(info.values())
    messages = {str(record["exception_message"]) for record in records}
    return "could not be checked: " + "; ".join(sorted(messages))
