"""The sentences of a pack, in English or Chinese: the HTML page, the PDF and VERIFY.txt use the same ones.

Their fixed parts are in ``texts.toml``. Belongs here: sentences. Does not belong here: layout. Text from outside
(names, reasons) goes through ``plain`` first: nothing in it can hide or reverse the text around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from textwrap import wrap
from unicodedata import east_asian_width

from yolo_assets.contracts.dsse import PayloadKind, payload_type
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import format_time
from yolo_assets.contracts.wording import Language, Wording
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.manifest import PackCounts, PackManifest, PackProblem, Query

_TEXTS = Path(__file__).with_name("texts.toml")
LONGEST_NAME = 160
"""Characters of a name (class, model, batch) that are printed; the data hold all of it."""

_SHORTENED = 60
_WIDTH = 100
_BY_DESIGN = ("other_file",)
"""Kinds of problems that take nothing away from the answer."""
_AT_THE_FRAME = ("turned",)
"""Kinds that are told at the frame alone."""
_CUSTODY, _PROVES, _NOT_PROVES = 4, 4, 5


def many(count: int, singular: str, plural: str = "") -> str:
    """``1 frame``, ``2 frames``, for the command line, which is English."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


class PackWording(Wording):
    """The sentences in one language."""

    def __init__(self, language: Language) -> None:
        super().__init__(_TEXTS, language)

    def when(self, moment: datetime | None, hour: str = "") -> str:
        """``2026-01-02 03:04:05.678 UTC``."""
        if moment is None:
            date = f"{hour[:4]}-{hour[4:6]}-{hour[6:8]}"
            return self.text("no_exact_time", hour=self.text("hour_of", date=date, hour=hour[9:]))
        return format_time(moment).replace("T", " ").replace("Z", " UTC")

    def size(self, count: int) -> str:
        """``1,234 bytes``."""
        return self.text("size", bytes=f"{count:,}")

    def name(self, text: str) -> str:
        """A name from outside, plain, and cut when it is longer than a page could show."""
        shown = plain(text)
        if len(shown) <= LONGEST_NAME:
            return shown
        return self.text("shortened", count=len(text), start=shown[:_SHORTENED])

    def question(self, query: Query) -> str:
        """The question as a sentence."""
        camera = self.text("ask_camera", camera=plain(query.camera_id)) if query.camera_id else None
        names = (query.class_name or "", *query.also_called)
        name, confidence = ", ".join(map(self.name, names)), f"{query.min_confidence or 0:g}"
        detection = ""
        if query.class_name is not None and query.min_confidence is not None:
            detection = self.text("ask_both", name=name, confidence=confidence)
        elif query.class_name is not None:
            detection = self.text("ask_class", name=name)
        elif query.min_confidence is not None:
            detection = self.text("ask_confidence", confidence=confidence)
        return self.text(
            "ask",
            camera=camera or self.text("ask_any_camera"),
            start=self.when(query.start),
            end=self.when(query.end),
            batch=self.text("ask_batch", batch=self.name(query.batch)) if query.batch is not None else "",
            part=self.text("ask_part", part=self.name(query.part_id)) if query.part_id is not None else "",
            detection=detection,
        )

    def answer(self, counts: PackCounts) -> str:
        """The answer as a sentence."""
        without = self.text("finding", counts.without_picture)
        return self.text(
            "answer",
            frames=self.text("frame", counts.frames),
            records=self.text("record", counts.records),
            detections=self.text("detection", counts.detections),
            archives=self.text("archive_count", counts.archives),
            fitting=self.text("answer_fitting", counts.fitting) if counts.fitting is not None else "",
            without=self.text("answer_without", findings=without) if counts.without_picture else "",
        )

    def missing(self, pack: PackManifest) -> list[str]:
        """What the question touches and the pack does not show; empty when there is nothing of that kind."""
        lines = [
            self.text("not_available", camera=hour.camera_id, hour=hour.hour, reason=plain(hour.reason or ""))
            for hour in pack.hours
            if hour.state == "unavailable"
        ]
        lines += [self.text("gap", start=self.when(gap.start), end=self.when(gap.end)) for gap in pack.gaps]
        lines += [
            self._problem(problem) for problem in pack.problems if problem.kind not in (*_BY_DESIGN, *_AT_THE_FRAME)
        ]
        return lines + ([self.letters(pack.unprinted)] if pack.unprinted else [])

    def notes(self, pack: PackManifest) -> list[str]:
        """What is so by design and nothing to worry about."""
        lines: list[str] = []
        if pack.counts.outside_hour:
            lines.append(self.text("outside_hour", frames=self.text("frame", pack.counts.outside_hour)))
        if pack.counts.without_picture:
            lines.append(self.text("kept_record_alone", findings=self.text("finding", pack.counts.without_picture)))
        if left_out := sum(hour.left_out for hour in pack.hours):
            lines.append(self.text("left_out", files=self.text("record_file", left_out)))
        return lines + [self._problem(problem) for problem in pack.problems if problem.kind in _BY_DESIGN]

    def _problem(self, problem: PackProblem) -> str:
        return self.text(problem.kind, path=plain(problem.path), reason=plain(problem.reason))

    def letters(self, characters: str) -> str:
        """Which characters could not be printed, and what to install."""
        from yolo_assets.evidence.lettering import packages

        shown = self.text("comma").join(f"{char} (U+{ord(char):04X})" for char in characters[:20])
        advice = packages(characters)
        key = "letters_advice" if advice else "letters_advice_none"
        return self.text(
            "letters",
            characters=shown + (" …" if len(characters) > 20 else ""),
            advice=self.text(key, packages=self.text("comma").join(advice)),
        )

    def searched(self, pack: PackManifest) -> str:
        """How the hours were searched."""
        states = [hour.state for hour in pack.hours]
        excluded, unavailable = states.count("excluded"), states.count("unavailable")
        return self.text(
            "searched_text",
            hours=self.text("camera_hour", len(states)),
            searched=states.count("searched"),
            excluded=self.text("searched_excluded", excluded) if excluded else "",
            unavailable=self.text("searched_unavailable", unavailable) if unavailable else "",
            found_by=plain(pack.found_by),
        )

    def custody(self) -> list[tuple[str, str]]:
        """The chain of custody, in paragraphs with a title each."""
        return [
            (self.text(f"custody_{number}"), self.text(f"custody_{number}_text")) for number in range(1, _CUSTODY + 1)
        ]

    def proves(self) -> list[str]:
        """What the signatures prove."""
        return [self.text(f"proves_{number}") for number in range(1, _PROVES + 1)]

    def does_not_prove(self, pack: PackManifest) -> list[str]:
        """What they do not prove."""
        clock, history = self.text("not_proves_1"), pack.history
        if history is not None and history.stamped_at is not None:
            clock = self.text("not_proves_1_stamped", when=self.when(history.stamped_at))
        elif history is not None and history.cosigned_by:
            clock = self.text("not_proves_1_cosigned", names=", ".join(map(plain, history.cosigned_by)))
        return [clock, *(self.text(f"not_proves_{number}") for number in range(2, _NOT_PROVES + 1))]

    def steps(self, pack: PackManifest) -> list[tuple[str, list[str]]]:
        """How to verify, in steps with the commands of each; every command runs as it is in the folder of the pack."""
        return [(self.text(key), commands) for key, commands in _steps(pack)]


def _steps(pack: PackManifest) -> list[tuple[str, list[str]]]:
    keys = list(dict.fromkeys((pack.signed_by, *pack.receipts_signed_by, *pack.enrolled_by)))
    options = " ".join(f"--key ../{key}.pub" for key in keys)
    return [
        ("verify_tool", [f"yolo-assets evidence verify . {options}"]),
        (
            "verify_keys",
            [
                f"openssl pkey -pubin -in ../{key}.pub -outform DER | tail -c 32 | sha256sum | cut -c 1-16"
                for key in keys
            ],
        ),
        ("verify_manifest", _signed(names.MANIFEST, payload_type("evidence-pack"), pack.signed_by, names.SIGNATURE)),
        (
            "verify_sums",
            [
                *_signed(names.SUMS, payload_type("evidence-sums"), pack.signed_by, names.SUMS_SIGNATURE),
                f"sha256sum --check --strict --quiet {names.SUMS}",
            ],
        ),
        ("verify_receipts", [_receipts_of(key) for key in pack.receipts_signed_by]),
        *_stamp_steps(pack),
        *_seal_steps(pack),
        (
            "verify_indexes",
            [
                "cat receipts/*.signed | tr ',{}' '\\n\\n\\n' | sort > /tmp/receipts",
                'test -z "$(printf \'"index_sha256":"%s"\\n\' $(sha256sum indexes/*.parquet | cut -c 1-64) | sort | '
                'comm -23 - /tmp/receipts)"',
            ],
        ),
        ("verify_members", []),
        ("verify_attached", []),
    ]


def _signed(file: str, kind: str, key: str, signature: str) -> list[str]:
    """Commands that check a signature over DSSE's encoding of a file."""
    return [
        f"printf 'DSSEv1 {len(kind)} {kind} %d ' $(wc -c < {file}) | cat - {file} > /tmp/signed",
        f"openssl pkeyutl -verify -pubin -inkey ../{key}.pub -rawin -in /tmp/signed -sigfile {signature}",
    ]


_HOLDS_FRAME = (
    r"""(for l in seals/*/*.leaf; do test -e "$l" || continue; f=frames/${l#seals/}; case "$(cat "$l")" in """
    r"""*'"sha256":"'"$(sha256sum < "${f%.leaf}" | cut -c 1-64)"'"'*) ;; *) exit 1 ;; esac; done)"""
)
_LEADS_TO_ROOT = (
    r"""(for l in seals/*/*.leaf; do test -e "$l" || continue; """
    r"""h=$(printf '\0' | cat - "$l" | sha256sum | cut -c 1-64 | tr a-f A-F); """
    r"""{ read -r place; while read -r side s; do """
    r"""if test $side = left; then h=$s$h; else h=$h$s; fi; """
    r"""h=$({ printf '\1'; printf %s $h | basenc -d --base16; } | sha256sum | cut -c 1-64 | tr a-f A-F); done; } """
    r"""< "${l%.leaf}.proof"; case "$(cat seals/*.statement)" in """
    r"""*'"root":"'"$(printf %s $h | tr A-F a-f)"'"'*) ;; *) exit 1 ;; esac; done)"""
)
_NAMED_BY_RECEIPT = (
    r"""(for s in seals/*.statement; do r=${s#seals/}; case "$(cat receipts/${r%.statement}.signed)" in """
    r"""*'"statement_sha256":"'"$(sha256sum < "$s" | cut -c 1-64)"'"'*) ;; *) exit 1 ;; esac; done)"""
)
_KEY_IS_ENROLLED = (
    r"""(for s in devices/*.statement; do k=$(printf %s "${s#devices/}" | cut -c 1-16); case "$(cat "$s")" in """
    r"""*'"public_key":"'"$(openssl pkey -pubin -in keys/$k.pub -outform DER | tail -c 32 | base64)"'"'*) ;; """
    r"""*) exit 1 ;; esac; done)"""
)


def _seal_steps(pack: PackManifest) -> list[tuple[str, list[str]]]:
    """From each frame to the seal of the device, and from its key to the enrolment; none where nothing was sealed."""
    if not pack.seals:
        return []
    keys = list(dict.fromkeys(seal.key_id for seal in pack.seals))
    signed = [_signed_statements("seals", "seal", key, f"keys/{key}.pub") for key in keys]
    steps = [("verify_seals", [*signed, _NAMED_BY_RECEIPT]), ("verify_sealed", [_HOLDS_FRAME, _LEADS_TO_ROOT])]
    if pack.enrolled_by:
        enrolled = [_signed_statements("devices", "device-key", key, f"../{key}.pub") for key in pack.enrolled_by]
        steps.append(("verify_enrolments", [*enrolled, _KEY_IS_ENROLLED, "cat devices/*.statement"]))
    return steps


def _signed_statements(folder: str, kind: PayloadKind, key: str, public: str) -> str:
    """A command that checks every signature of a key over the statements of a folder."""
    encoded = payload_type(kind)
    return (
        f"(for s in {folder}/*.{key}.sig; do f=${{s%.{key}.sig}}.statement; "
        f'printf \'DSSEv1 {len(encoded)} {encoded} %d \' $(wc -c < "$f") | cat - "$f" > /tmp/signed; '
        f'openssl pkeyutl -verify -pubin -inkey {public} -rawin -in /tmp/signed -sigfile "$s" || exit 1; done)'
    )


def _receipts_of(key: str) -> str:
    verify = f'openssl pkeyutl -verify -pubin -inkey ../{key}.pub -rawin -in "${{s%.{key}.sig}}.signed" -sigfile "$s"'
    return f"(for s in receipts/*.{key}.sig; do {verify} || exit 1; done)"


def _stamp_steps(pack: PackManifest) -> list[tuple[str, list[str]]]:
    """With a time stamp for every receipt: how to check them."""
    if pack.history is None or pack.history.stamped_at is None:
        return []
    verify = 'openssl ts -verify -data "${t%.tsr}.checkpoint" -in "$t" -CAfile ../authority.pem'
    return [("verify_stamps", [f"(for t in history/*.tsr; do {verify} || exit 1; done)"])]


def howto_text(pack: PackManifest) -> str:
    """``VERIFY.txt``, in both languages, that of the report first; each command stands once."""
    other: Language = "zh" if pack.language == "en" else "en"
    wordings = [PackWording(pack.language), PackWording(other)]

    def heading(key: str) -> list[str]:
        return [*(wording.text(key) for wording in wordings), ""]

    lines = heading("verify")
    for steps in zip(*(wording.steps(pack) for wording in wordings), strict=True):
        for text, _ in steps:
            lines += _wrapped(text)
        lines += ["", *(f"    {command}" for command in steps[0][1]), *([""] if steps[0][1] else [])]
    for key, texts in (
        ("proves", [wording.proves() for wording in wordings]),
        ("not_proves", [wording.does_not_prove(pack) for wording in wordings]),
    ):
        lines += heading(key)
        for both in texts:
            for text in both:
                lines += _wrapped(text, "- ")
            lines.append("")
    return "\n".join(lines)


def _wrapped(text: str, first: str = "") -> list[str]:
    """Lines of at most 100 columns; Chinese, which has no blanks, breaks between any two characters but marks."""
    if not any(east_asian_width(char) in "WF" for char in text):
        return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
    lines, line = [], first
    for piece in _pieces(text):
        if _columns(line) + _columns(piece) > _WIDTH and piece[0] not in "，。：；、）】”":
            lines.append(line.rstrip())
            line = " " * len(first)
        line += piece.lstrip() if not line.strip() else piece
    return [*lines, line]


def _pieces(text: str) -> Iterable[str]:
    """Chinese characters one by one, everything else as words with the blank after them."""
    word = ""
    for char in text:
        if east_asian_width(char) in "WF":
            if word:
                yield word
            word = ""
            yield char
        else:
            word += char
            if char == " ":
                yield word
                word = ""
    if word:
        yield word


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
