"""The report for machines: strict JSON, sorted, the same bytes for the same run."""

import json
from collections.abc import Sequence

from kgrad.diagnosis import Diagnosis
from kgrad.log.run_log import RunLog
from kgrad.log.schema import SCHEMA_VERSION
from kgrad.log.strict_json import strict
from kgrad.prescription.prescription import Prescription


def render_json(log: RunLog, diagnosis: Diagnosis, prescriptions: Sequence[Prescription]) -> str:
    """The run's facts, diagnosis and prescriptions; NaN and infinities become `null`."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "run": {
            "name": log.name,
            "status": log.status,
            "error": log.info.get("error"),
            "recorded_steps": len(log),
            "layers": len(log.structure.weighted_layers),
            "variables": len(log.structure.variables),
            "parameters": log.structure.parameters,
        },
        "diagnosis": diagnosis.to_dict(),
        "prescriptions": [prescription.to_dict() for prescription in prescriptions],
    }
    return json.dumps(strict(data), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
