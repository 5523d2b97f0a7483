"""Writing an export: the bundle as it is, and beside it what others can check with tools of their own.

model.onnx, manifest.json, …    the bundle, with the signatures of promotion where there are any
gate.json, proposal.json        signed originals, where there are any
model.intoto.jsonl              in-toto statements, one DSSE envelope a line (``statements``)
bom.cdx.json                    CycloneDX (``bill``)
VERIFY.txt                      how to check it all
model.sig                       OpenSSF model signing, over every other file

Does not belong here: what the statements say.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import signature_files
from yolo_assets.models.approvals import Approvals
from yolo_assets.models.registry import Registry
from yolo_assets.provenance.bill import bill_of
from yolo_assets.provenance.export_key import ExportKey
from yolo_assets.provenance.making import GATE, PROPOSAL, Making, collect_making
from yolo_assets.provenance.statements import statements_of

SIGNATURE, STATEMENTS, BILL, HOWTO = "model.sig", "model.intoto.jsonl", "bom.cdx.json", "VERIFY.txt"


@dataclass(frozen=True)
class SignedExport:
    """An export that was written.

    Attributes:
        folder: where it lies.
        making: what it says.
        statements: how many in-toto statements it holds.
    """

    folder: Path
    making: Making
    statements: int


def export_signed(
    registry: Registry,
    name: str,
    version: str,
    out: Path,
    key: ExportKey,
    *,
    channel: str,
    approvals: Approvals | None = None,
) -> SignedExport:
    """Write a version as a folder with its signature and statements: complete or not at all.

    A manifest that is signed must be signed by a trusted key; one that nobody signed is exported as such.

    Args:
        registry: with the key of promotion.
        name: of the model.
        version: of the model.
        out: must not exist.
        key: signs the export.
        channel: whose proposal and releases are told.
        approvals: of the plant; None where nobody has to approve.

    Raises:
        BadInputError: ``out`` exists, or a file of the bundle has a name that the export needs.
        SignatureError: something that is quoted is signed by no trusted key, or was changed.
        ObjectNotFoundError, IntegrityError: as ``Registry.export_bundle``.
    """
    import model_signing

    if out.exists():
        raise BadInputError(f"{out} exists already; choose a folder that does not")
    signed = bool(registry.manifest_signatures(name, version))
    stored = registry.read_manifest(name, version, signed=signed)
    taken = {*signature_files("manifest.json"), SIGNATURE, STATEMENTS, BILL, HOWTO, GATE, PROPOSAL}
    if clash := sorted(taken & set(stored.manifest.files)):
        raise BadInputError(f"{name}/{version} holds a file {clash[0]}, which an export writes itself")
    making = collect_making(registry, stored, channel, approvals)
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    folder = partial / out.name  # the signature names the model after its folder
    partial.mkdir(parents=True)
    try:
        registry.export_bundle(name, version, folder, signed=signed)
        for file, data in making.originals.items():
            (folder / file).write_bytes(data)
        envelopes = [key.seal_statement(statement).to_json() for statement in statements_of(making)]
        (folder / STATEMENTS).write_bytes(b"".join(envelope + b"\n" for envelope in envelopes))
        (folder / BILL).write_bytes(bill_of(making))
        (folder / HOWTO).write_text(_how_to_verify(making, key, signed), encoding="utf-8")
        files = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE])
        signing = model_signing.signing.Config().set_hashing_config(files)
        signing.use_elliptic_key_signer(private_key=key.path).sign(folder, folder / SIGNATURE)
        folder.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return SignedExport(out, making, len(envelopes))


def _how_to_verify(making: Making, key: ExportKey, signed: bool) -> str:
    """``VERIFY.txt``; each command is indented by four blanks and is run by a test as it stands."""
    manifest = making.manifest
    not_shown = [f"- {gap}" for gap in making.gaps]
    if not signed:
        not_shown.append("- It was never promoted: nobody released it.")
    if making.report is not None and not making.report.passed:
        not_shown.append("- The gate refused it.")
    return f"""{manifest.model_version}: how to check this folder

You need the public key of who exported it, from that person and not out of this folder. The SHA-256 of that file is
{key.fingerprint}.
Set KEY to its path and work in this folder:

    sha256sum "$KEY"

1. Nothing was changed, left out or added: OpenSSF model signing (pip install model-signing pyopenssl).

    model_signing verify key . --signature {SIGNATURE} --public_key "$KEY"

2. How it was made and judged: in-toto statements in DSSE envelopes, one a line of {STATEMENTS}, which stand
without this folder, too. With OpenSSL and coreutils, into a folder statements beside this one:

    mkdir -p ../statements
    for n in $(seq "$(wc -l < {STATEMENTS})"); do
      line=$(sed -n "${{n}}p" {STATEMENTS}); at=../statements/$n
      printf %s "$line" | cut -d'"' -f4 | base64 -d > $at.json
      printf %s "$line" | cut -d'"' -f18 | base64 -d > $at.sig
      printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < $at.json)" | cat - $at.json > $at.signed
      openssl dgst -sha256 -verify "$KEY" -signature $at.sig $at.signed
    done

Line 1 is SLSA provenance (dataset, label files, recipe, code, start weights; among its byproducts gate, approvals and
releases); line 2, where the gate judged the version, is its verdict as a test result.

3. What it is made of: a CycloneDX bill of materials (pip install 'cyclonedx-python-lib[json-validation]').

    python3 -c "from cyclonedx.schema import SchemaVersion as Version
    from cyclonedx.validation.json import JsonStrictValidator
    error = JsonStrictValidator(Version.V1_6).validate_str(open('{BILL}').read())
    raise SystemExit(str(error) if error else 0)"

manifest.json.dsse, {GATE} and {PROPOSAL}, where they are here, carry the plant's own signatures (Ed25519, DSSE).

What this does not show
- That it is the newest release: an older export verifies as well. Ask for the channel's release number.
- That recipe, machine and code are told truly: training writes them down and holds no key. Hashes of dataset, label
  files and weights are bound by the manifest.
{chr(10).join(not_shown)}
"""
