"""
A Google Cloud in memory: it takes what Terraform asks for, and refuses what the real one is known to refuse.

Every rule here stands for an error that people met: an API that is off, a quota of the free trial, a database that
cannot be dropped, a secret that may not be read yet, a container that does not start. Time is a number of seconds: a
database takes ten minutes, a right a minute.
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
    "google_project_iam_custom_role": "iam.googleapis.com",
    "google_project_iam_member": "cloudresourcemanager.googleapis.com",
    "google_secret_manager_": "secretmanager.googleapis.com",
    "google_service_account": "iam.googleapis.com",
    "google_sql_": "sqladmin.googleapis.com",
    "google_storage_": "storage.googleapis.com",
}
PROTECTIONS = ("deletion_protection", "deletion_protection_enabled")
NOT_KEPT = ("google_project_service",)
"""What a destroy leaves on purpose."""


LONGEST = {
    ("google_cloud_run_v2_service", "name"): 49,
    ("google_compute_managed_ssl_certificate", "name"): 63,
    ("google_iam_workload_identity_pool", "workload_identity_pool_id"): 32,
    ("google_secret_manager_secret", "secret_id"): 255,
    ("google_service_account", "account_id"): 30,
    ("google_sql_database_instance", "name"): 98,
    ("google_storage_bucket", "name"): 63,
}
"""How many characters Google gives a name."""
USED_BY = {
    "google_compute_managed_ssl_certificate": ("google_compute_target_https_proxy", "ssl_certificates"),
    "google_compute_security_policy": ("google_compute_backend_service", "security_policy"),
}
"""What cannot be deleted while the argument of another names it."""
DATABASE_SECONDS = 600
GRANT_SECONDS = 60
STARTS_NOT = {
    "missing": "Image '{image}' not found.",
    "arm64": "Application failed to start: failed to load /usr/local/bin/python: exec format error",
    "arm64-index": "Cloud Run does not support image '{image}': Container manifest type "
    "'application/vnd.oci.image.index.v1+json' must support amd64/linux.",
    "of-others": "Google Cloud Run Service Agent service-123456789@serverless-robot-prod.iam.gserviceaccount.com must "
    "have permission to read the image, {image}.",
    "broken": "The user-provided container failed to start and listen on the port defined provided by the PORT=6789 "
    "environment variable within the allocated timeout.",
}
"""By the tag of an image, why its revision does not come up."""
LOCATIONS = ["europe-west1", "us-central1"]


class Refused(Exception):
    """The cloud's answer to what it does not do."""


class HalfDone(Refused):
    """What was asked for is there, and failed: Terraform keeps the new state, and taints what is new."""

    def __init__(self, reason: str, state: Values) -> None:
        super().__init__(reason)
        self.state = state


@dataclass
class Cloud:
    """What there is, and a log of everything asked for, one JSON object a line, write-only arguments included."""

    log: Path
    paid: bool = False
    """Whether the free trial is over."""
    broken: str = ""
    """A kind of resource that cannot be made until a file `fixed` is beside the log."""
    missing: tuple[str, ...] = ()
    """Secrets that nobody made."""
    there: dict[str, Values] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)
    seconds: float = 0

    def apply(self, kind: str, prior: Values | None, planned: Values | None, config: Values | None) -> Values | None:
        """Make, change or destroy one resource; what it is then. Refused, or HalfDone with what is there."""
        done = "delete" if planned is None else "update" if prior else "create"
        if planned is None:
            self._check_delete(kind, prior or {})
        else:
            self._check_apply(kind, prior, config or {})
        state = planned if planned is None or prior else {**planned, **self._outputs(kind, planned)}
        with self.log.open("a") as log:
            log.write(json.dumps({"action": done, "kind": kind, "config": config or prior}) + "\n")
        if state is None:
            gone = self.there.pop(str((prior or {})["id"]), None)
            if gone and kind == "google_cloud_run_v2_service":
                self._forget_grants(gone["name"])
        elif kind not in NOT_KEPT:
            self.there[str(state["id"])] = {"kind": kind, "since": self.seconds, **state}
        if kind == "google_cloud_run_v2_service" and state:
            self._roll_out(state, prior)
        return state

    def read(self, kind: str, state: Values) -> Values | None:
        """What a resource is now, as the API says it; None when it is gone."""
        if kind in NOT_KEPT:
            return state
        if (there := self.there.get(str(state["id"]))) is None:
            return None
        if kind == "google_cloud_run_v2_service":
            self._let_others_update(there)
        return {name: there[name] for name in state}

    def sleep(self, kind: str, prior: Values | None, planned: Values | None, config: Values | None) -> Values | None:
        """Terraform's time_sleep: time goes on."""
        if planned is None or prior:
            return planned
        self.seconds += float(planned["create_duration"].removesuffix("s"))
        self.made[kind] += 1
        return {**planned, "id": f"{kind}/{self.made[kind]}"}

    def look_up(self, kind: str, config: Values) -> Values:
        """What a data source has. Refused when there is no such thing."""
        if kind == "google_project":
            return {"id": "my-project", "number": "123456789"}
        if kind == "google_cloud_run_locations":
            return {"id": "projects/my-project/locations", "locations": LOCATIONS}
        if config["secret"] in self.missing:
            raise Refused(f"Error 404: Secret [projects/123/secrets/{config['secret']}] not found or has no versions")
        return {"id": f"projects/123/secrets/{config['secret']}/versions/1"}

    def _forget_grants(self, service: str) -> None:
        """The grants of a service go with it."""
        names = ("name", "cloud_run_service_name")
        for key, one in list(self.there.items()):
            if one["kind"].endswith("service_iam_member") and service in map(one.get, names):
                del self.there[key]

    def _let_others_update(self, service: Values) -> None:
        """`gcloud run services update`, by a person or deploy.yml, as the file `update.json` beside the log has it."""
        asked = self.log.with_name("update.json")
        if not asked.exists():
            return
        update = json.loads(asked.read_text())
        asked.unlink()
        prior = json.loads(json.dumps(service))
        service |= {"client": "gcloud", "client_version": "580.0.0"}
        [template] = service["template"]
        labels = {**(service["labels"] or {}), **update.get("labels", {})}
        # Every change has a number used once, and goes with all labels of the service.
        template["labels"] = {**labels, "client.knative.dev/nonce": f"n{self.made['revision']}"}
        if image := update.get("image"):
            template["containers"][0]["image"] = image
        try:
            self._roll_out(service, prior)
        except HalfDone as error:
            self.log.with_name("update.said").write_text(str(error))

    def _roll_out(self, service: Values, prior: Values | None) -> None:
        """A new revision for a new template. It serves once it is up; until then the one before does."""
        [template] = service["template"]
        # The API has a list of its own order, with Cloud SQL at its end.
        for blocks, key in ((template["volumes"], "name"), (template["containers"][0]["volume_mounts"], "name")):
            blocks.sort(key=lambda block: block[key] == "cloudsql")
        if prior and prior["template"] == template:
            return
        self.made["revision"] += 1
        service["latest_created_revision"] = f"{service['name']}-{self.made['revision']:05d}"
        if why := self._why_it_does_not_start(template):
            self.there[service["id"]] |= service
            revision = service["latest_created_revision"]
            raise HalfDone(f"Error code 9: Revision '{revision}' is not ready and cannot serve traffic. {why}", service)
        service["latest_ready_revision"] = service["latest_created_revision"]
        self.there[service["id"]] |= service

    def _why_it_does_not_start(self, template: Values) -> str | None:
        [container] = template["containers"]
        for variable in container["env"]:
            for source in variable["value_source"] or ():
                secret = source["secret_key_ref"][0]["secret"]
                if not self._may_read(secret, f"serviceAccount:{template['service_account']}"):
                    return (
                        f"Permission denied on secret: projects/123/secrets/{secret}/versions/latest for Revision "
                        f"service account {template['service_account']}."
                    )
        if self.log.with_name("unhealthy").exists():
            return STARTS_NOT["broken"]
        image = container["image"]
        why = STARTS_NOT.get(image.rpartition(":")[2])
        return why and why.format(image=image)

    def _check_apply(self, kind: str, prior: Values | None, config: Values) -> None:
        if kind == self.broken and not self.log.with_name("fixed").exists():
            raise Refused("Error 500: Internal error encountered, backendError")
        api = next((name for prefix, name in API_OF.items() if kind.startswith(prefix)), None)
        if api and not self.made[api]:
            raise Refused(f"Error 403: {api} has not been used in this project before or it is disabled")
        if kind == "google_compute_security_policy" and not self.paid:
            raise Refused("Error 403: Quota 'SECURITY_POLICY_RULES' exceeded. Limit: 0.0 globally.")
        for (limited, argument), most in LONGEST.items():
            if kind == limited and len(config[argument]) > most:
                raise Refused(f"Error 400: {argument} {config[argument]} has more than {most} characters")
        name = config.get("name")
        taken = [one for one in self.there.values() if one["kind"] == kind and one.get("name") == name]
        if not prior and taken and (kind.startswith("google_compute_") or kind == "google_cloud_run_v2_service"):
            raise Refused(f"Error 409: The resource '{name}' already exists")

    def _may_read(self, secret: str, member: str) -> bool:
        return any(
            grant["kind"] == "google_secret_manager_secret_iam_member"
            and (grant["secret_id"], grant["member"]) == (secret, member)
            and self.seconds >= grant["since"] + GRANT_SECONDS
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
        user, argument = USED_BY.get(kind, ("", ""))
        if any(one["kind"] == user and state["id"] in (one[argument] or ()) for one in self.there.values()):
            raise Refused(f"Error 400: The resource '{state['name']}' is already being used by {user}")

    def _outputs(self, kind: str, planned: Values) -> Values:
        """What a new resource is called; only what the configuration reads has the form of the real one."""
        self.made[kind] += 1
        found: Values = {"id": f"{kind}/{self.made[kind]}"}
        if kind == "google_project_service":
            self.made[planned["service"]] += 1
        if kind == "google_service_account":
            email = f"{planned['account_id']}@my-project.iam.gserviceaccount.com"
            found |= {"email": email, "member": f"serviceAccount:{email}", "name": f"projects/my-project/{email}"}
        if kind == "google_sql_database_instance":
            self.seconds += DATABASE_SECONDS
            found["connection_name"] = f"my-project:{planned['region']}:{planned['name']}"
        if kind == "google_cloud_run_v2_service":
            found["uid"] = found["id"]
        if kind == "google_filestore_instance":
            found["networks"] = [{**planned["networks"][0], "ip_addresses": ["10.0.0.2"]}]
        if kind == "google_project_iam_custom_role":
            found["name"] = f"projects/my-project/roles/{planned['role_id']}"
        if kind == "google_secret_manager_secret_version":
            self.made[planned["secret"]] += 1
            found["version"] = str(self.made[planned["secret"]])
        return found
