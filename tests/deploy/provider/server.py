"""
Stand-ins for Terraform's providers google, random and time: the real arguments, and a cloud in memory.

Usage: python -m tests.deploy.provider.server WHEEL

For each line of its standard input, `LOG [--paid] [--broken KIND] [--missing SECRET]`, it starts a new cloud and prints
the value for TF_REATTACH_PROVIDERS. All of them end with its standard input. Runs in .venv-deploy.
"""

import argparse
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgpack

from tests.deploy.provider.cloud import Cloud, HalfDone, Refused, Values
from tests.deploy.provider.schema import RESOURCES, Attribute, Block, resource_block

sys.path.insert(0, str(Path(__file__).parent))  # where grpc looks for the .proto
proto, service = grpc.protos_and_services("plugin.proto")

LIST = 2
ERROR = 1
UNKNOWN_TYPE = 0
TEXT = '"string"'
TEXTS = '["list", "string"]'
LABELS = '["map", "string"]'


def _attributes(**kinds: str) -> dict[str, Attribute]:
    """Attributes from words such as `length="required number"`."""
    found = {}
    for name, words in kinds.items():
        how, kind = words.split(maxsplit=1)
        found[name] = Attribute(name, json.dumps(kind), how == "required", how == "optional", how == "computed")
    return found


PROVIDER = Block(
    _attributes(
        project="optional string",
        region="optional string",
        billing_project="optional string",
        user_project_override="optional bool",
    )
    | {"default_labels": Attribute("default_labels", LABELS, optional=True)}
)
PROJECT = Block(_attributes(id="computed string", project_id="optional string", number="computed string"))
RANDOM_ID = Block(_attributes(id="computed string", byte_length="required number", hex="computed string"))
TIME_SLEEP = Block(
    _attributes(id="computed string", create_duration="optional string")
    | {"triggers": Attribute("triggers", LABELS, optional=True)}
)
LOCATIONS = Block(_attributes(id="computed string") | {"locations": Attribute("locations", TEXTS, computed=True)})
SECRET_VERSION = Block(_attributes(id="computed string", secret="required string", fetch_secret_data="optional bool"))
PASSWORD = Block(_attributes(length="required number", special="optional bool", result="computed string"))
REPLACED_BY = {
    "google_compute_managed_ssl_certificate": ("name", "managed"),
    "google_secret_manager_secret_version": ("secret_data_wo_version",),
    "time_sleep": ("triggers",),
}
FOR_EVER = ("account_id", "location", "member", "name", "region", "role", "secret_id", "workload_identity_pool_id")
"""A change of these arguments makes a new resource, of one kind and of all."""


class _Unknown:
    """What is only known after the apply."""


UNKNOWN = _Unknown()


@dataclass
class Provider:
    """What Terraform calls of one provider."""

    provider: Block
    resources: Mapping[str, Block]
    data_sources: Mapping[str, Block]
    ephemeral: Mapping[str, Block]
    apply: Callable[[str, Values | None, Values | None, Values | None], Values | None]
    lock: Lock
    read: Callable[[str, Values], Values | None] = lambda kind, state: state
    look_up: Callable[[str, Values], Values] = lambda kind, config: {}

    def GetSchema(self, request: Any, context: Any) -> Any:
        return proto.GetProviderSchema.Response(
            provider=_schema(self.provider),
            resource_schemas={name: _schema(block) for name, block in self.resources.items()},
            data_source_schemas={name: _schema(block) for name, block in self.data_sources.items()},
            ephemeral_resource_schemas={name: _schema(block) for name, block in self.ephemeral.items()},
        )

    def PrepareProviderConfig(self, request: Any, context: Any) -> Any:
        return proto.PrepareProviderConfig.Response(prepared_config=request.config)

    def Configure(self, request: Any, context: Any) -> Any:
        return proto.Configure.Response()

    def _nothing(self, request: Any, context: Any) -> Any:
        return proto.Typed.Response()

    ValidateResourceTypeConfig = ValidateDataSourceConfig = _nothing
    ValidateEphemeralResourceConfig = CloseEphemeralResource = _nothing

    def Stop(self, request: Any, context: Any) -> Any:
        return proto.Stop.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        return proto.UpgradeResourceState.Response(upgraded_state=proto.DynamicValue(json=request.raw_state.json))

    def ReadResource(self, request: Any, context: Any) -> Any:
        with self.lock:
            return proto.ReadResource.Response(
                new_state=_encode(self.read(request.type_name, _decode(request.current_state) or {}))
            )

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        prior, planned = _decode(request.prior_state), _decode(request.proposed_new_state)
        replace = []
        if planned is not None:
            _plan(self.resources[request.type_name], planned, new=prior is None)
            causes = {*REPLACED_BY.get(request.type_name, ()), *(FOR_EVER if "google" in request.type_name else ())}
            changed = [name for name in sorted(causes & planned.keys()) if prior and prior[name] != planned[name]]
            replace = [proto.AttributePath(steps=[proto.AttributePath.Step(attribute_name=name)]) for name in changed]
        # As the real ones, it may say more after an apply than it planned.
        return proto.PlanResourceChange.Response(
            planned_state=_encode(planned), requires_replace=replace, legacy_type_system=True
        )

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        prior, planned = _decode(request.prior_state), _decode(request.planned_state)
        if planned is not None:
            _fill_in(self.resources[request.type_name], planned, request.type_name)
        try:
            with self.lock:
                state = self.apply(request.type_name, prior, planned, _decode(request.config))
        except Refused as refused:
            said = proto.Diagnostic(severity=ERROR, summary=f"{request.type_name}: {refused}")
            kept = _encode(refused.state) if isinstance(refused, HalfDone) else request.prior_state
            return proto.ApplyResourceChange.Response(new_state=kept, diagnostics=[said], legacy_type_system=True)
        return proto.ApplyResourceChange.Response(new_state=_encode(state), legacy_type_system=True)

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        config = _decode(request.config) or {}
        try:
            found = self.look_up(request.type_name, config)
        except Refused as refused:
            said = proto.Diagnostic(severity=ERROR, summary=str(refused))
            return proto.ReadDataSource.Response(diagnostics=[said])
        return proto.ReadDataSource.Response(state=_encode({**config, **found}))

    def OpenEphemeralResource(self, request: Any, context: Any) -> Any:
        config = _decode(request.config) or {}
        length = int(config["length"])
        result = secrets.token_hex(length)[:length]
        return proto.OpenEphemeralResource.Response(result=_encode({**config, "result": result}))


def _plan(block: Block, values: Values, *, new: bool) -> None:
    """Forget what is write-only, and leave open what only the cloud will know of something new."""
    for attribute in block.attributes.values():
        if attribute.write_only:
            values[attribute.name] = None
        elif new and attribute.computed and values[attribute.name] is None:
            values[attribute.name] = UNKNOWN
    for inner, nested in _nested(block, values):
        _plan(inner, nested, new=new)


def _fill_in(block: Block, values: Values, where: str) -> None:
    """Make up what was left open; what is no text or list of texts stays empty."""
    made_up = {TEXT: where, TEXTS: [where]}
    for name, value in values.items():
        if value is UNKNOWN:
            values[name] = made_up.get(block.attributes[name].type)
    for inner, nested in _nested(block, values):
        _fill_in(inner, nested, where)


def _nested(block: Block, values: Values) -> Iterator[tuple[Block, Values]]:
    for name, (inner, _, _) in block.blocks.items():
        for nested in values[name]:
            yield inner, nested


def _schema(block: Block) -> Any:
    return proto.Schema(block=_block(block))


def _block(block: Block) -> Any:
    return proto.Schema.Block(
        attributes=[
            proto.Schema.Attribute(
                name=attribute.name,
                type=attribute.type.encode(),
                required=attribute.required,
                optional=attribute.optional,
                computed=attribute.computed,
                write_only=attribute.write_only,
            )
            for attribute in block.attributes.values()
        ],
        block_types=[
            proto.Schema.NestedBlock(type_name=name, block=_block(inner), nesting=LIST, min_items=least, max_items=most)
            for name, (inner, least, most) in block.blocks.items()
        ],
    )


def _decode(value: Any) -> Values | None:
    decoded: Values | None = msgpack.unpackb(value.msgpack, ext_hook=lambda *_: UNKNOWN, raw=False)
    return decoded


def _encode(value: Values | None) -> Any:
    return proto.DynamicValue(msgpack=msgpack.packb(value, default=lambda _: msgpack.ExtType(UNKNOWN_TYPE, b"\0")))


def _random(kind: str, prior: Values | None, planned: Values | None, config: Values | None) -> Values | None:
    if planned is None or prior:
        return planned
    made = secrets.token_hex(int(planned["byte_length"]))
    return {**planned, "id": made, "hex": made}


def _serve(provider: Provider) -> tuple[Any, dict[str, object]]:
    server = grpc.server(ThreadPoolExecutor(10))
    service.add_ProviderServicer_to_server(provider, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    where = {"Network": "tcp", "String": address}
    return server, {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": where}


def _cloud(options: str) -> Cloud:
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--paid", action="store_true")
    parser.add_argument("--broken", default="")
    parser.add_argument("--missing", action="append", default=[])
    given = parser.parse_args(shlex.split(options))
    return Cloud(given.log, given.paid, given.broken, tuple(given.missing))


def main() -> None:
    """Serve a new pair for each line of standard input, until that ends."""
    kinds = {kind: resource_block(Path(sys.argv[1]), kind) for kind in RESOURCES}
    servers = []
    sources = {
        "google_cloud_run_locations": LOCATIONS,
        "google_project": PROJECT,
        "google_secret_manager_secret_version": SECRET_VERSION,
    }
    for line in sys.stdin:
        cloud, lock = _cloud(line), Lock()
        google = Provider(PROVIDER, kinds, sources, {}, cloud.apply, lock, cloud.read, cloud.look_up)
        random = Provider(Block(), {"random_id": RANDOM_ID}, {}, {"random_password": PASSWORD}, _random, Lock())
        time = Provider(Block(), {"time_sleep": TIME_SLEEP}, {}, {}, cloud.sleep, lock)
        providers = {"google": google, "random": random, "time": time}
        running = {name: _serve(provider) for name, provider in providers.items()}
        servers.append(running)
        reattach = {f"registry.terraform.io/hashicorp/{name}": config for name, (_, config) in running.items()}
        print(json.dumps(reattach), flush=True)


if __name__ == "__main__":
    main()
