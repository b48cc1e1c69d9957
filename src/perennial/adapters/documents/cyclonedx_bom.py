"""An ML-BOM as CycloneDX 1.6 JSON (cyclonedx-python-lib), checked by the library's own strict validator.

The library has no type for `modelCard` (nor for the `data` of a data component): both are put into its JSON,
and the whole is validated as it is written. Specification: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

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
from perennial.errors import MalformedInput

MD5 = re.compile(r"[0-9a-f]{32}")
MODEL_REF = "model"


def to_json(bom: Bom) -> str:
    """The document as text; the same facts give the same text.

    Raises:
        MalformedInput: it is not valid as CycloneDX 1.6 (strict).
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
    """Raises MalformedInput, which names the first place, when it is not valid as CycloneDX 1.6 (strict)."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        first = str(error).partition("\n")[0]
        raise MalformedInput(f"the ML-BOM is not valid CycloneDX 1.6: {first}", hint="make it anew")


def _document(bom: Bom) -> CycloneDx:
    model = _model(bom)
    components = [*_data(bom), *_files(bom), *(_library(one) for one in bom.packages)]
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
    return Component(
        name=bom.model,
        version=bom.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=MODEL_REF,
        description=bom.spec.description,
        manufacturer=OrganizationalEntity(name=bom.spec.owner),
        hashes=[_sha256(bom.digest)],
        properties=[Property(name=f"perennial:{name}", value=value) for name, value in facts.items()],
    )


def _data(bom: Bom) -> list[Component]:
    """One per file of the data revision; a folder's DVC hash has a suffix, so it is a property."""
    revision = bom.tags.get("data.revision", "")
    return [
        Component(
            name=name,
            version=revision or None,
            type=ComponentType.DATA,
            bom_ref=f"data:{name}",
            description=f"From: {bom.capsule.source}",
            hashes=[HashType(alg=HashAlgorithm.MD5, content=found)] if MD5.fullmatch(found) else [],
            properties=[Property(name="perennial:dvc", value=found)],
        )
        for name, found in sorted(bom.capsule.data.items())
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
            "task": spec.task,
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
    if bom.measures:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_measure(one) for one in bom.measures]}
    if spec.data.sensitive:
        named = f"Sensitive columns: {', '.join(spec.data.sensitive)}"
        card["considerations"]["ethicalConsiderations"] = [{"name": named}]
    return card


def _measure(one: Measure) -> dict[str, Any]:
    told: dict[str, Any] = {"type": one.metric, "value": f"{one.value:.6g}"}
    if one.part is not None:
        told["slice"] = one.part
    if one.low is not None and one.high is not None:
        told["confidenceInterval"] = {"lowerBound": f"{one.low:.6g}", "upperBound": f"{one.high:.6g}"}
    return told
