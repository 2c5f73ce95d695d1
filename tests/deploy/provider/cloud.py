"""
A Google Cloud in memory: it takes what Terraform asks for, and refuses what the real one is known to refuse.

Every rule here stands for an error that people met: an API that is off, a quota of the free trial, a database that
cannot be dropped, a secret that may not be read.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]

API_OF = {
    "google_artifact_registry_": "artifactregistry.googleapis.com",
    "google_bigquery_": "bigquery.googleapis.com",
    "google_billing_": "billingbudgets.googleapis.com",
    "google_cloud_run_": "run.googleapis.com",
    "google_compute_": "compute.googleapis.com",
    "google_filestore_": "file.googleapis.com",
    "google_iam_workload_": "iam.googleapis.com",
    "google_iap_": "iap.googleapis.com",
    "google_project_iam_": "cloudresourcemanager.googleapis.com",
    "google_secret_manager_": "secretmanager.googleapis.com",
    "google_service_account": "iam.googleapis.com",
    "google_sql_": "sqladmin.googleapis.com",
    "google_storage_": "storage.googleapis.com",
}
PROTECTIONS = ("deletion_protection", "deletion_protection_enabled")
NOT_KEPT = ("google_project_service",)
"""What a destroy leaves on purpose."""


class Refused(Exception):
    """The cloud's answer to what it does not do."""


@dataclass
class Cloud:
    """What there is, and a log of everything asked for, one JSON object a line, write-only arguments included."""

    log: Path
    paid: bool = False
    """Whether the free trial is over."""
    broken: str = ""
    """A kind of resource that cannot be made until a file `fixed` is beside the log."""
    there: dict[str, Values] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    def apply(self, kind: str, prior: Values | None, planned: Values | None, config: Values | None) -> Values | None:
        """Make, change or destroy one resource; what it is then. Refused with the reason."""
        done = "delete" if planned is None else "update" if prior else "create"
        if planned is None:
            self._check_delete(kind, prior or {})
        else:
            self._check_apply(kind, config or {})
        state = planned if planned is None or prior else {**planned, **self._outputs(kind, planned)}
        with self.log.open("a") as log:
            log.write(json.dumps({"action": done, "kind": kind, "config": config or prior}) + "\n")
        if state is None:
            self.there.pop(str((prior or {})["id"]), None)
        elif kind not in NOT_KEPT:
            self.there[str(state["id"])] = {"kind": kind, **state}
        return state

    def _check_apply(self, kind: str, config: Values) -> None:
        if kind == self.broken and not self.log.with_name("fixed").exists():
            raise Refused("Error 500: Internal error encountered, backendError")
        api = next((name for prefix, name in API_OF.items() if kind.startswith(prefix)), None)
        if api and not self.made[api]:
            raise Refused(f"Error 403: {api} has not been used in this project before or it is disabled")
        if kind == "google_compute_security_policy" and not self.paid:
            raise Refused("Error 403: Quota 'SECURITY_POLICY_RULES' exceeded. Limit: 0.0 globally.")
        if kind == "google_cloud_run_v2_service":
            self._check_service(config)

    def _check_service(self, config: Values) -> None:
        template = config["template"][0]
        for variable in template["containers"][0]["env"]:
            for source in variable["value_source"] or ():
                secret = source["secret_key_ref"][0]["secret"]
                if not self._may_read(secret, f"serviceAccount:{template['service_account']}"):
                    raise Refused(f"Error 400: Permission denied on secret {secret} for Revision service account")

    def _may_read(self, secret: str, member: str) -> bool:
        return any(
            grant["kind"] == "google_secret_manager_secret_iam_member"
            and (grant["secret_id"], grant["member"]) == (secret, member)
            for grant in self.there.values()
        )

    def _check_delete(self, kind: str, state: Values) -> None:
        if any(state.get(name) for name in PROTECTIONS):
            raise Refused(f"cannot destroy {state['name']} without setting deletion_protection=false")
        if kind == "google_sql_database" and state["deletion_policy"] != "ABANDON":
            raise Refused(f'Error 400: database "{state["name"]}" is being accessed by other users')
        if kind == "google_sql_user" and state["deletion_policy"] != "ABANDON":
            raise Refused(f'Error 400: role "{state["name"]}" cannot be dropped because some objects depend on it')
        if kind == "google_storage_bucket" and not state["force_destroy"]:
            raise Refused("Error 409: The bucket you tried to delete is not empty.")
        if kind == "google_bigquery_dataset" and not state["delete_contents_on_destroy"]:
            raise Refused("Error 400: Dataset is still in use")

    def _outputs(self, kind: str, planned: Values) -> Values:
        """What a new resource is called; only what the configuration reads has the form of the real one."""
        self.made[kind] += 1
        found = {"id": f"{kind}/{self.made[kind]}"}
        if kind == "google_project_service":
            self.made[planned["service"]] += 1
        if kind == "google_service_account":
            email = f"{planned['account_id']}@my-project.iam.gserviceaccount.com"
            found |= {"email": email, "member": f"serviceAccount:{email}", "name": f"projects/my-project/{email}"}
        if kind == "google_sql_database_instance":
            found["connection_name"] = f"my-project:{planned['region']}:{planned['name']}"
        if kind == "google_secret_manager_secret_version":
            self.made[planned["secret"]] += 1
            found["version"] = str(self.made[planned["secret"]])
        return found
