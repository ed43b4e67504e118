"""Writes monitoring/azure/rule-groups.json, the rules of monitoring/rules.yaml for Azure Monitor's managed Prometheus, and tests them
at its shortest interval with promtool. With --check, the file is compared instead of written."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).parent.parent
TARGET = ROOT / "monitoring/azure/rule-groups.json"
# Azure accepts intervals from 1 to 15 minutes; ours are 15 seconds.
INTERVAL = "1m"
SEVERITY = {"critical": 1, "warning": 3}


def iso(duration):
    return "PT" + duration.upper()


def azure_rule(rule):
    if "record" in rule:
        return {"record": rule["record"], "expression": rule["expr"], "enabled": True}
    alert = {
        "alert": rule["alert"],
        "expression": rule["expr"],
        "enabled": True,
        "severity": SEVERITY[rule["labels"]["severity"]],
        "labels": rule["labels"],
        "annotations": rule["annotations"],
    }
    if "for" in rule:
        alert["for"] = iso(rule["for"])
    # Azure's equivalent of keep_firing_for is at most 15 minutes long. Alerts that fire for longer are resolved by hand.
    keep = rule.get("keep_firing_for")
    if keep and keep.endswith("m") and int(keep[:-1]) <= 15:
        alert["resolveConfiguration"] = {"autoResolved": True, "timeToResolve": iso(keep)}
    elif keep:
        alert["resolveConfiguration"] = {"autoResolved": False}
    return alert


def template(spec):
    def group(one):
        return {
            "type": "Microsoft.AlertsManagement/prometheusRuleGroups",
            "apiVersion": "2023-03-01",
            "name": one["name"],
            "location": "[parameters('location')]",
            "properties": {
                "description": "Generated from monitoring/rules.yaml by .ci/azure_rules.py",
                "scopes": ["[parameters('azureMonitorWorkspace')]"],
                "clusterName": "[parameters('clusterName')]",
                "enabled": True,
                "interval": iso(INTERVAL),
                "rules": [azure_rule(rule) for rule in one["rules"]],
            },
        }

    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "azureMonitorWorkspace": {"type": "string", "metadata": {"description": "Resource ID of the Azure Monitor workspace"}},
            "clusterName": {"type": "string", "metadata": {"description": "Name of the AKS cluster"}},
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
        },
        "resources": [group(one) for one in spec["groups"]],
    }


def test(generated):
    """Runs the unit tests of the rules on the expressions, durations and interval of the template."""
    groups = []
    for resource in generated["resources"]:
        rules = []
        for rule in resource["properties"]["rules"]:
            one = {"expr": rule["expression"]}
            one |= {key: rule[key] for key in ("record", "alert", "labels") if key in rule}
            if "for" in rule:
                one["for"] = rule["for"].removeprefix("PT").lower()
            # As an approximation, an alert that is resolved by hand keeps firing for an hour.
            if resolve := rule.get("resolveConfiguration"):
                one["keep_firing_for"] = resolve.get("timeToResolve", "PT1H").removeprefix("PT").lower()
            rules.append(one)
        groups.append({"name": resource["name"], "interval": INTERVAL, "rules": rules})
    tests = (ROOT / "tests/monitoring/promtool.yaml").read_text()
    tests = re.sub(r"^evaluation_interval: .*$", f"evaluation_interval: {INTERVAL}", tests, count=1, flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        (pathlib.Path(folder) / "tests.yaml").write_text(tests)
        subprocess.run(["promtool", "test", "rules", "tests.yaml"], cwd=folder, check=True)


def main():
    spec = yaml.safe_load((ROOT / "monitoring/rules.yaml").read_text())["spec"]
    generated = template(spec)
    text = json.dumps(generated, indent=2) + "\n"
    if "--check" in sys.argv:
        if not TARGET.is_file() or TARGET.read_text() != text:
            sys.exit(f"{TARGET.relative_to(ROOT)} is not that of monitoring/rules.yaml: run .ci/azure_rules.py")
        test(generated)
    else:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text)


main()
