"""Write an ML-BOM as CycloneDX 1.6 JSON (cyclonedx-python-lib) and validate it strictly.

The library has no type for `modelCard` and for the `data` of a data component: both are added to its JSON before
the validation. Specification: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import perennial.adapters.json_schema  # noqa: F401 before the library imports jsonschema

# isort: split
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom as CycloneDx
from cyclonedx.model.bom import BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from perennial.core.governance.bom import Bom, Measure, Package
from perennial.core.training.imported import NOT_KNOWN, TRAINED_TAG, is_imported
from perennial.errors import MalformedInput

MD5 = re.compile(r"[0-9a-f]{32}")
MODEL_REF = "model"


def to_json(bom: Bom) -> str:
    """Return the document as text; equal contents give equal text.

    Raises:
        MalformedInput: the document is not valid CycloneDX 1.6 (strict).
    """
    document = json.loads(JsonV1Dot6(_document(bom)).output_as_string())
    document["metadata"]["component"]["modelCard"] = _model_card(bom)
    for component in document["components"]:
        if component["type"] == "data":
            component["data"] = [{"type": "dataset", "name": component["name"]}]
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    check(text)
    return text


def check(text: str) -> None:
    """Validate a document.

    Raises:
        MalformedInput: it is not valid CycloneDX 1.6 (strict); the message has the first error.
    """
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        first = str(error).partition("\n")[0]
        raise MalformedInput(f"the ML-BOM is not valid CycloneDX 1.6: {first}", hint="write it again")


def _document(bom: Bom) -> CycloneDx:
    model = _model(bom)
    components = [*_data(bom), *_files(bom), *map(_library, bom.packages)]
    document = CycloneDx(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{bom.model}/{bom.version}/{bom.digest}/{bom.made}"),
        metadata=BomMetaData(component=model, timestamp=bom.made),
        components=components,
    )
    document.register_dependency(model, components)
    return document


def _model(bom: Bom) -> Component:
    facts = {
        "capsule": bom.capsule.hash,
        "code": bom.capsule.code,
        "constraints.txt (SHA-256)": bom.capsule.constraints,
        "feature definitions (hash)": bom.capsule.features,
        "spec (digest)": bom.capsule.spec,
    }
    if is_imported(bom.tags):
        facts["imported; trained"] = bom.tags.get(TRAINED_TAG, NOT_KNOWN)
    return Component(
        name=bom.model,
        version=bom.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=MODEL_REF,
        description=bom.spec.description,
        manufacturer=OrganizationalEntity(name=bom.spec.owner),
        hashes=[_sha256(bom.capsule.model)],
        properties=[Property(name=f"perennial:{name}", value=value) for name, value in facts.items()],
    )


def _data(bom: Bom) -> list[Component]:
    """Return a component per file of the data revision. A folder's DVC hash has a suffix: it is only a property."""
    revision = bom.tags.get("data.revision", "")
    return [
        Component(
            name=name,
            version=revision or None,
            type=ComponentType.DATA,
            bom_ref=f"data:{name}",
            description=f"From: {bom.capsule.source}",
            hashes=[HashType(alg=HashAlgorithm.MD5, content=md5)] if MD5.fullmatch(md5) else [],
            properties=[Property(name="perennial:dvc", value=md5)],
        )
        for name, md5 in sorted(bom.capsule.data.items())
    ]


def _files(bom: Bom) -> list[Component]:
    return [
        Component(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}", hashes=[_sha256(digest)])
        for name, digest in bom.files.items()
    ]


def _library(package: Package) -> Component:
    purl = PackageURL("pypi", None, package.name.lower(), package.version)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(package.licence)] if package.licence else [],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _model_card(bom: Bom) -> dict[str, Any]:
    spec = bom.spec
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": spec.task.kind,
            "architectureFamily": bom.tags.get("framework", "unknown"),
            "modelArchitecture": bom.tags.get("architecture", "unknown"),
            "datasets": [{"ref": f"data:{name}"} for name in sorted(bom.capsule.data)],
            "inputs": [{"format": bom.tags.get("model.input", "float32 [batch, features]")}],
            "outputs": [{"format": bom.tags.get("model.output", "float32 [batch]")}],
        },
        "considerations": {"useCases": [spec.description]},
        "properties": [
            {"name": f"perennial:parameter:{name}", "value": str(value)}
            for name, value in sorted(bom.capsule.parameters.items())
        ],
    }
    if is_imported(bom.tags):
        del card["modelParameters"]["approach"]  # not known
    if bom.measures:
        card["quantitativeAnalysis"] = {"performanceMetrics": list(map(_measure, bom.measures))}
    if spec.data.sensitive:
        named = f"Sensitive columns: {', '.join(spec.data.sensitive)}"
        card["considerations"]["ethicalConsiderations"] = [{"name": named}]
    return card


def _measure(measure: Measure) -> dict[str, Any]:
    metric: dict[str, Any] = {"type": measure.metric, "value": f"{measure.value:.6g}"}
    if measure.part is not None:
        metric["slice"] = measure.part
    if measure.low is not None and measure.high is not None:
        bounds = {"lowerBound": f"{measure.low:.6g}", "upperBound": f"{measure.high:.6g}"}
        metric["confidenceInterval"] = bounds
    return metric
