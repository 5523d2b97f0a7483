"""The gate's decision, as text and as a record that is stored with the training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.models.gate_policy import GatePolicy

Answer = Literal["better", "not better", "cannot tell"]
"""What the gate says of a candidate; only the first is released."""


class RuleResult(Record):
    """One rule of the gate, applied.

    ``judged`` is False where the figures it needs are missing; such a rule passes and its sentence names them.
    ``unsure`` is True where more labels may turn a refusal into a pass.
    """

    rule: str
    passed: bool
    sentence: str
    judged: bool = True
    unsure: bool = False
    value: float | None = None
    limit: float | None = None
    labels_needed: dict[str, int] = Field(
        default_factory=dict[str, int], description="objects to label until the rule can tell, by class"
    )

    @classmethod
    def of(
        cls,
        rule: str,
        passed: bool,
        refused: str,
        met: str,
        *,
        value: float | None = None,
        limit: float | None = None,
        unsure: bool = False,
        labels_needed: Mapping[str, int] | None = None,
    ) -> RuleResult:
        """An evaluated rule, with the sentence that goes with its result.

        Args:
            rule: its name.
            passed: whether it is met.
            refused: the sentence when it is not.
            met: the sentence when it is.
            value: the figure that decided.
            limit: what it was held against.
            unsure: when it is not met: whether more labels may change that.
            labels_needed: when it is not met: how many, by class.
        """
        return cls(
            rule=rule,
            passed=passed,
            sentence=met if passed else refused,
            value=value,
            limit=limit,
            unsure=unsure and not passed,
            labels_needed={} if passed else dict(labels_needed or {}),
        )


class GateReport(Record):
    """The decision on one candidate, bound to the bytes that were evaluated."""

    schema_version: Literal[1] = 1
    candidate: str = Field(description="<name>/<version>")
    onnx_sha256: str
    champion: str | None
    anchor: str | None = Field(default=None, description="the best release before, where it is not the champion")
    next_anchor: str | None = Field(
        default=None, description="the best release afterwards; None where the candidate was not released"
    )
    test_sha256: str
    policy: GatePolicy
    passed: bool
    answer: Answer | None = Field(default=None, description="None in reports of older versions")
    labels_needed: dict[str, int] = Field(
        default_factory=dict[str, int], description="objects to label, by class, until the gate can tell"
    )
    rules: tuple[RuleResult, ...]
    expected: ExpectedChange | None = None

    @property
    def refusals(self) -> tuple[RuleResult, ...]:
        """The rules that were not met."""
        return tuple(rule for rule in self.rules if not rule.passed)

    @property
    def verdict(self) -> Answer:
        """The answer; of an older report, which had two, by whether it passed."""
        return self.answer or ("better" if self.passed else "not better")

    @property
    def plan(self) -> str:
        """What to label until the gate can tell, in words; empty when nothing is missing."""
        wanted = sorted(self.labels_needed.items(), key=lambda item: (-item[1], item[0]))
        if not wanted:
            return ""
        (first, count), *rest = wanted
        return f"label about {count:,} more of {first}" + "".join(f", {more:,} of {name}" for name, more in rest)

    @property
    def summary(self) -> str:
        """One sentence: passed, or why not."""
        against = f"against {self.champion}" if self.champion else "with no champion to beat"
        if self.passed:
            skipped = sum(not rule.judged for rule in self.rules)
            rest = f" ({skipped} could not be evaluated)" if skipped else ""
            rest += f"; to be surer, {self.plan}" if self.plan else ""
            return f"{self.candidate} passes the gate {against}: all {len(self.rules)} rules are met{rest}."
        why = "; ".join(rule.sentence.rstrip(".") for rule in self.refusals)
        if self.verdict == "cannot tell":
            plan = f". Not released; {self.plan}" if self.plan else ". Not released"
            return f"The gate cannot tell whether {self.candidate} is better, {against}: {why}{plan}."
        return f"{self.candidate} is refused {against}: {why}."

    def to_markdown(self) -> str:
        """The report as a heading, the summary and a table of the rules, refusals first."""
        heading = "passed" if self.passed else "cannot tell" if self.verdict == "cannot tell" else "refused"
        lines = [
            f"## Gate: {self.candidate} {heading}",
            "",
            self.summary,
            "",
            "| | rule | finding | value | limit |",
            "|---|---|---|---:|---:|",
        ]
        for rule in sorted(self.rules, key=lambda rule: (rule.passed, rule.unsure)):
            refused = "cannot tell" if rule.unsure else "refused"
            mark = refused if not rule.passed else "met" if rule.judged else "not evaluated"
            sentence = rule.sentence.replace("|", "\\|")
            lines.append(f"| {mark} | {rule.rule} | {sentence} | {_figure(rule.value)} | {_figure(rule.limit)} |")
        return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
