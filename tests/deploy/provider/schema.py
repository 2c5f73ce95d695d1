"""
The arguments of Google's Terraform resources, out of the wheel of pulumi-gcp.

Pulumi's package for Python is made from the same provider: for every resource it has a class of arguments with their
types. What is lost on the way is singular or plural of a list's name: both are taken here.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

RESOURCES = {
    "google_artifact_registry_repository": "artifactregistry/Repository",
    "google_artifact_registry_repository_iam_member": "artifactregistry/RepositoryIamMember",
    "google_bigquery_dataset": "bigquery/Dataset",
    "google_bigquery_dataset_iam_member": "bigquery/DatasetIamMember",
    "google_billing_budget": "billing/Budget",
    "google_cloud_run_v2_service": "cloudrunv2/Service",
    "google_cloud_run_v2_service_iam_member": "cloudrunv2/ServiceIamMember",
    "google_compute_backend_service": "compute/BackendService",
    "google_compute_global_address": "compute/GlobalAddress",
    "google_compute_global_forwarding_rule": "compute/GlobalForwardingRule",
    "google_compute_managed_ssl_certificate": "compute/ManagedSslCertificate",
    "google_compute_region_network_endpoint_group": "compute/RegionNetworkEndpointGroup",
    "google_compute_security_policy": "compute/SecurityPolicy",
    "google_compute_ssl_policy": "compute/SSLPolicy",
    "google_compute_target_http_proxy": "compute/TargetHttpProxy",
    "google_compute_target_https_proxy": "compute/TargetHttpsProxy",
    "google_compute_url_map": "compute/URLMap",
    "google_filestore_instance": "filestore/Instance",
    "google_iam_workload_identity_pool": "iam/WorkloadIdentityPool",
    "google_iam_workload_identity_pool_provider": "iam/WorkloadIdentityPoolProvider",
    "google_iap_web_cloud_run_service_iam_member": "iap/WebCloudRunServiceIamMember",
    "google_project_iam_custom_role": "projects/IAMCustomRole",
    "google_project_iam_member": "projects/IAMMember",
    "google_project_service": "projects/Service",
    "google_secret_manager_secret": "secretmanager/Secret",
    "google_secret_manager_secret_iam_member": "secretmanager/SecretIamMember",
    "google_secret_manager_secret_version": "secretmanager/SecretVersion",
    "google_service_account": "serviceaccount/Account",
    "google_service_account_iam_member": "serviceaccount/IAMMember",
    "google_sql_database": "sql/Database",
    "google_sql_database_instance": "sql/DatabaseInstance",
    "google_sql_user": "sql/User",
    "google_storage_bucket": "storage/Bucket",
    "google_storage_bucket_iam_member": "storage/BucketIAMMember",
}
"""Terraform's resources, and Pulumi's module and class for each. Only those that terraform/ has."""

COMPUTED = {("InstanceNetwork", "ip_addresses")}
"""What only the cloud knows, but Pulumi's classes for blocks have as an argument."""

SCALARS = {"str": '"string"', "int": '"number"', "float": '"number"', "bool": '"bool"'}
_WRAPPERS = re.compile(r"pulumi\.(?:Input|Output)\[|Optional\[|_builtins\.|[\]\"']")
_ARGUMENT = re.compile(r"^ +(\w+): (pulumi\.Input\[.+?\])( = None)?[,)]", re.MULTILINE)
_OUTPUT = re.compile(r"^    def (\w+)\(self\) -> (pulumi\.Output\[.+\]):", re.MULTILINE)


@dataclass(frozen=True)
class Attribute:
    """One argument, or one thing to read. `type` is Terraform's own notation, as JSON."""

    name: str
    type: str
    required: bool = False
    optional: bool = False
    computed: bool = False

    @property
    def write_only(self) -> bool:
        """Whether it is sent and never kept."""
        return self.name.endswith("_wo")


@dataclass(frozen=True)
class Block:
    """The arguments of a resource or of a block in it."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    blocks: Mapping[str, tuple["Block", int, int]] = field(default_factory=dict)
    """Per name, what is in it, and how often it must and may come; 0 is any number of times."""


def resource_block(wheel: Path, kind: str) -> Block:
    """The arguments and outputs of one of RESOURCES. LookupError when the wheel does not have it."""
    module, name = RESOURCES[kind].split("/")
    source = _own_file(wheel, module, name)
    block = _block(wheel, module, name, source)
    outputs = {
        output: Attribute(output, known, computed=True)
        for output, text in _OUTPUT.findall(source.partition("(pulumi.CustomResource):")[2])
        if output not in block.attributes and output not in block.blocks and (known := _attribute_type(text))
    }
    identity = {"id": Attribute("id", '"string"', computed=True)}
    return Block(identity | dict(block.attributes) | outputs, block.blocks)


def _block(wheel: Path, module: str, name: str, source: str) -> Block:
    attributes: dict[str, Attribute] = {}
    blocks: dict[str, tuple[Block, int, int]] = {}
    arguments = list(_arguments(source, f"{name}Args"))
    names = {argument for argument, _, _ in arguments}
    for argument, text, required in arguments:
        bare = _WRAPPERS.sub("", text)
        many = bare.startswith("Sequence[")
        if nested := re.search(r"(\w+)Args$", bare):
            inner = _block(wheel, module, nested[1], _inputs(wheel, module))
            for written in _spellings(argument, many, names):
                blocks[written] = (inner, int(required and not many), 0 if many else 1)
        elif known := _attribute_type(text):
            computed = (name, argument) in COMPUTED
            needed = required and not many
            for written in _spellings(argument, many, names):
                attributes[written] = Attribute(written, known, needed, not needed and not computed, computed)
    return Block(attributes, blocks)


def _spellings(name: str, many: bool, names: set[str]) -> set[str]:
    """What Terraform may call a list that Pulumi calls so: envs is env, matches_prefixes is matches_prefix."""
    if not many:
        return {name}
    endings = ("ies", "y"), ("xes", "x"), ("sses", "ss"), ("s", "")
    singular = {name.removesuffix(plural) + single for plural, single in endings if name.endswith(plural)}
    return {name} | singular - names


def _attribute_type(text: str) -> str | None:
    bare = _WRAPPERS.sub("", text)
    if bare.startswith("Sequence["):
        element = SCALARS.get(bare.removeprefix("Sequence["))
        return f'["list", {element}]' if element else None
    if bare.startswith("Mapping[str, "):
        element = SCALARS.get(bare.removeprefix("Mapping[str, "))
        return f'["map", {element}]' if element else None
    return SCALARS.get(bare)


def _arguments(source: str, name: str) -> Iterator[tuple[str, str, bool]]:
    start = source.find(f"\nclass {name}:\n")
    if start < 0:
        raise LookupError(f"the wheel has no class {name}")
    body = source[start : source.find("\n@pulumi.input_type", start)]
    signature = body[body.find("def __init__") : body.find("):\n") + 1]
    for argument, text, default in _ARGUMENT.findall(signature):
        yield argument, text, not default


@cache
def _inputs(wheel: Path, module: str) -> str:
    return _read(wheel, f"pulumi_gcp/{module}/_inputs.py")


def _own_file(wheel: Path, module: str, name: str) -> str:
    """The file of a resource's class: DatabaseInstance is in database_instance.py, IAMMember in iam_member.py."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return _read(wheel, f"pulumi_gcp/{module}/{snake}.py")


def _read(wheel: Path, path: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(path).decode()
