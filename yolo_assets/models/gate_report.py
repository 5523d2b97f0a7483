"""The gate's decision, as text and as a record that is stored with the training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.models.gate_policy import GatePolicy


class RuleResult(Record):
    """One rule of the gate, applied.

    ``judged`` is False where the figures it needs are missing; such a rule passes and its sentence names them.
    """

    rule: str
    passed: bool
    sentence: str
    judged: bool = True
    value: float | None = None
    limit: float | None = None

    @classmethod
    def of(
        cls, rule: str, passed: bool, refused: str, met: str, *, value: float | None = None, limit: float | None = None
    ) -> RuleResult:
        """An evaluated rule, with the sentence that goes with its result."""
        return cls(rule=rule, passed=passed, sentence=met if passed else refused, value=value, limit=limit)


class GateReport(Record):
    """The decision on one candidate, bound to the bytes that were evaluated."""

    schema_version: Literal[1] = 1
    candidate: str = Field(description="<name>/<version>")
    onnx_sha256: str
    champion: str | None
    test_sha256: str
    policy: GatePolicy
    passed: bool
    rules: tuple[RuleResult, ...]
    expected: ExpectedChange | None = None

    @property
    def refusals(self) -> tuple[RuleResult, ...]:
        """The rules that were not met."""
        return tuple(rule for rule in self.rules if not rule.passed)

    @property
    def summary(self) -> str:
        """One sentence: passed, or refused and why."""
        against = f"against {self.champion}" if self.champion else "with no champion to beat"
        if self.passed:
            skipped = sum(not rule.judged for rule in self.rules)
            rest = f" ({skipped} could not be evaluated)" if skipped else ""
            return f"{self.candidate} passes the gate {against}: all {len(self.rules)} rules are met{rest}."
        why = "; ".join(rule.sentence.rstrip(".") for rule in self.refusals)
        return f"{self.candidate} is refused {against}: {why}."

    def to_markdown(self) -> str:
        """The report as a heading, the summary and a table of the rules, refusals first."""
        lines = [
            f"## Gate: {self.candidate} {'passed' if self.passed else 'refused'}",
            "",
            self.summary,
            "",
            "| | rule | finding | value | limit |",
            "|---|---|---|---:|---:|",
        ]
        for rule in sorted(self.rules, key=lambda rule: rule.passed):
            mark = "refused" if not rule.passed else "met" if rule.judged else "not evaluated"
            sentence = rule.sentence.replace("|", "\\|")
            lines.append(f"| {mark} | {rule.rule} | {sentence} | {_figure(rule.value)} | {_figure(rule.limit)} |")
        return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
