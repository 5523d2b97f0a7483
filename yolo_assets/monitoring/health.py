"""Does a camera still give the picture it gave when it was set up? Against a long reference, season by season. Pure.

Sharpness and brightness are compared with the first week of the camera (or with the week after somebody said that this
is how it should look), so that dirt and age that come slowly are seen as well as what comes at once. What is found
stays until the picture has been well for hours. What the figures cannot show (a lens that was dirty from the first
frame on) is not claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from yolo_assets.contracts.camera_states import UNTRUSTED, FaultKind
from yolo_assets.monitoring.drift import MonitoringPolicy, last_hour
from yolo_assets.monitoring.seasons import Numbers, Slots, learn_seasons, season_of_hours
from yolo_assets.monitoring.sequential import Flags, Floats, learn_level_lots, level_ratios, watch

KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
DARK = 25.0
"""Grey level below which a picture shows nothing: it is neither sharp nor frozen nor moved."""
FROZEN_FRAMES = 10
"""Consecutive frames with exactly equal figures: the noise of a live sensor never repeats."""
SILENT_MINUTES = 15.0
MOVED = 0.02
"""Share of the picture's longer side by which a scene lies elsewhere."""
DROPPED = 0.05
"""Share of frames that are lost beyond what is usual."""

_SHARPNESS_SLACK = 0.3
_BRIGHTNESS_SLACK = (6.0, 0.12)
_SHARPER = (-0.25, -0.6, -1.2)
_BRIGHTER = (-0.5, -1.5, -4.0, 0.5, 1.5, 4.0)
_WELL_HOURS = 3
_FEW_EMPTY = 3


@dataclass(frozen=True)
class PictureFigures:
    """Figures of the pictures of cameras, hour by hour, ``[n, t]`` each; NaN: not known.

    Attributes:
        frames: that were processed; 0 without any.
        silent_minutes: from the last frame to the end of the hour.
        blur: median sharpness.
        brightness: median grey level.
        objects: in front of the camera.
        longest_frozen: longest run of equal frames.
        frozen_at_end: length of the run with which the hour ended.
        moved: distance of the scene from the reference's, share of the longer side.
        dropped: share of captured frames that were lost.
    """

    frames: Floats
    silent_minutes: Floats
    blur: Floats
    brightness: Floats
    objects: Floats
    longest_frozen: Floats
    frozen_at_end: Floats
    moved: Floats
    dropped: Floats


@dataclass(frozen=True)
class HealthTimeline:
    """What was said hour by hour.

    Attributes:
        standing: ``[n, t]`` by kind of fault.
        suspicious: ``[n, t]``: not enough to say that the picture is sick, too much to trust it.
        learning: ``[n, t]``: the reference does not cover the hour yet.
        usual_blur: ``[n, t]``, by the reference.
        usual_brightness: ``[n, t]``.
        usual_dropped: ``[n]``.
    """

    standing: dict[FaultKind, Flags]
    suspicious: Flags
    learning: Flags
    usual_blur: Floats = field(repr=False)
    usual_brightness: Floats = field(repr=False)
    usual_dropped: Floats = field(repr=False)

    @property
    def trusted(self) -> Flags:
        """``[n, t]``: nothing is wrong with the picture, nor seems to be."""
        return ~np.any([self.standing[kind] for kind in UNTRUSTED], axis=0) & ~self.suspicious

    @property
    def sick(self) -> Flags:
        """``[n, t]``: any fault."""
        return np.any([self.standing[kind] for kind in KINDS], axis=0)


def judge_health(
    figures: PictureFigures,
    slots: Slots,
    age: Numbers,
    works: Flags,
    lit: Flags,
    policy: MonitoringPolicy | None = None,
) -> HealthTimeline:
    """Judge every hour of every camera.

    Args:
        figures: of all cameras and hours.
        slots: of the hours.
        age: ``[n, t]``, hours since a camera's reference began; negative before.
        works: ``[n, t]``: the plant does not stand on purpose, and the camera is expected.
        lit: ``[t]`` or ``[n, t]``: the lamps are on, by plan.
        policy: the defaults without.
    """
    policy = policy or MonitoringPolicy()
    first = (age >= 0) & (age < policy.learning_hours) & works
    week = (age >= 0) & (age < policy.reference_hours) & works
    young = (age >= policy.learning_hours) & (age < policy.reference_hours) & works
    early = _judge(figures, slots, first, young, works, lit, policy)
    ends = last_hour(age < policy.reference_hours)
    changed = (early.sick | early.suspicious)[np.arange(ends.size), ends]
    if changed.any():
        longer = young | (changed[:, None] & (age >= policy.reference_hours) & works)
        early = _judge(figures, slots, first, longer, works, lit, policy)
    hours = np.where(changed[:, None], first, week)
    frozen = _judge(figures, slots, hours, (age >= policy.reference_hours) & works, works, lit, policy)
    use = (age >= policy.reference_hours) & ~changed[:, None]
    return HealthTimeline(
        standing={kind: np.where(use, frozen.standing[kind], early.standing[kind]) for kind in KINDS},
        suspicious=np.where(use, frozen.suspicious, early.suspicious),
        learning=np.where(use, frozen.learning, early.learning),
        usual_blur=np.where(use, frozen.usual_blur, early.usual_blur),
        usual_brightness=np.where(use, frozen.usual_brightness, early.usual_brightness),
        usual_dropped=np.where(use[:, -1], frozen.usual_dropped, early.usual_dropped),
    )


def _judge(
    figures: PictureFigures,
    slots: Slots,
    hours: Flags,
    later: Flags,
    works: Flags,
    lit: Flags,
    policy: MonitoringPolicy,
) -> HealthTimeline:
    lights = np.broadcast_to(lit, hours.shape)
    bright = np.where(works & lights, figures.brightness, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        sharp = np.where(bright >= DARK, np.log(np.maximum(figures.blur, 1e-3)), np.nan)
    of_reference = [(np.where(hours, bright, np.nan), 4.0), (np.where(hours, sharp, np.nan), 0.1)]
    season = season_of_hours(learn_seasons(of_reference, slots), slots)
    usual_bright = _usual(bright, hours, season)
    usual_sharp = _usual_sharpness(sharp, figures.objects, hours, season)

    room = _BRIGHTNESS_SLACK[0] + _BRIGHTNESS_SLACK[1] * np.nan_to_num(usual_bright)
    lighter = (bright - usual_bright) / room
    light_lots = learn_level_lots(np.where(hours, lighter, np.nan), np.full(hours.shape, 0.02), 0.3)
    judged = np.where(later, lighter, np.nan)
    slack = np.broadcast_to(1 + light_lots.spread[:, None], hours.shape)
    light = level_ratios(judged, np.full(hours.shape, 0.02), light_lots, slack, _BRIGHTER, 5.0)
    light_watch = watch(light, _settled(np.abs(judged) < slack), policy.limit)

    # In the dark no picture is sharp: what fell is the light.
    seen = np.where(bright > 0.5 * np.nan_to_num(usual_bright), sharp - usual_sharp, np.nan)
    sharp_lots = learn_level_lots(np.where(hours, seen, np.nan), np.full(hours.shape, 1e-3), 0.08)
    sharper = np.where(later, seen, np.nan)
    slack = np.broadcast_to(_SHARPNESS_SLACK + sharp_lots.spread[:, None], hours.shape)
    sharpness = level_ratios(sharper, np.full(hours.shape, 1e-3), sharp_lots, slack, _SHARPER, 5.0)
    sharp_watch = watch(sharpness, _settled(sharper > -slack), policy.limit)

    usual_dropped = _row_median(np.where(hours, figures.dropped, np.nan))
    more = figures.dropped - usual_dropped[:, None]
    frames, dark = figures.frames > 0, figures.brightness < DARK / 4
    since = works & (hours | later)
    sends = ~(_share_of_season(frames.astype(float), hours, season) < 0.2)
    began = light_watch.standing & ~np.pad(light_watch.standing[:, :-1], ((0, 0), (1, 0)))
    darker = light_watch.standing & (_held(np.where(began, judged, np.nan)) < 0)
    standing: dict[FaultKind, Flags] = {
        "silent": sends & ~(figures.silent_minutes <= SILENT_MINUTES) & since,
        # Well again with the first hour in which the picture never stood still.
        "frozen": (figures.longest_frozen >= FROZEN_FRAMES) & ~dark & since,
        "blurred": sharp_watch.standing,
        "darker": darker,
        "brighter": light_watch.standing & ~darker,
        "moved": _lasting((figures.moved >= MOVED) & since, figures.moved < MOVED / 2, 2),
        "dropping": _lasting((more > DROPPED) & since, more < DROPPED / 2, 2),
    }
    doubt = policy.suspicion * policy.limit
    suspicious = (light_watch.evidence > doubt) | (sharp_watch.evidence > doubt) | (figures.moved >= MOVED)
    return HealthTimeline(
        standing=standing,
        suspicious=suspicious & later,
        learning=~(later & (season >= 0)),
        usual_blur=np.exp(usual_sharp),
        usual_brightness=usual_bright,
        usual_dropped=usual_dropped,
    )


def _usual(values: Floats, hours: Flags, season: Numbers) -> Floats:
    """Median of the reference's hours of the same season, ``[n, t]``; NaN without any."""
    found = np.full(values.shape, np.nan)
    learned = np.where(hours, values, np.nan)
    for number in range(int(season.max(initial=-1)) + 1):
        here = season == number
        if here.any():
            middle = _row_median(np.where(here, learned, np.nan))
            found = np.where(here, middle[:, None], found)
    return found


def _usual_sharpness(sharp: Floats, objects: Floats, hours: Flags, season: Numbers) -> Floats:
    """The usual sharpness of each hour, that of an empty belt where it is empty.

    A belt with nothing on it is smooth. Where objects are usual, an hour without any is compared with the empty hours
    of the reference; when there are too few of those it is not judged.
    """
    often = _usual(np.where(np.isfinite(objects), objects, np.nan), hours, season) >= 10
    empty = often & (objects == 0)
    known = hours & (objects == 0) & np.isfinite(sharp)
    smooth = np.where(known.sum(axis=1) >= _FEW_EMPTY, _row_median(np.where(known, sharp, np.nan)), np.nan)
    usual = _usual(np.where(empty, np.nan, sharp), hours, season)
    return np.where(empty, smooth[:, None], usual)


def _share_of_season(values: Floats, hours: Flags, season: Numbers) -> Floats:
    """Mean of the reference's hours of the same season; NaN without any."""
    found = np.full(values.shape, np.nan)
    for number in range(int(season.max(initial=-1)) + 1):
        here = (season == number) & hours
        number_of = here.sum(axis=1)
        mean = np.where(number_of > 0, (values * here).sum(axis=1) / np.maximum(number_of, 1), np.nan)
        found = np.where(season == number, mean[:, None], found)
    return found


def _row_median(values: Floats) -> Floats:
    has = np.isfinite(values).any(axis=1)
    middle = np.full(values.shape[0], np.nan)
    if has.any():
        middle[has] = np.nanmedian(values[has], axis=1)
    return middle


def _held(values: Floats) -> Floats:
    """Each value, or the last one before it that is known."""
    index = np.where(np.isfinite(values), np.arange(values.shape[1])[None], 0)
    index = np.maximum.accumulate(index, axis=1)
    return np.take_along_axis(values, index, axis=1)


def _settled(well: Flags) -> Flags:
    """Whether the last three hours are all well."""
    return np.apply_along_axis(lambda row: np.convolve(row, np.ones(_WELL_HOURS))[: row.size], 1, well) >= _WELL_HOURS


def _lasting(wrong: Flags, well: Flags, least: int) -> Flags:
    """From the ``least``-th wrong hour in a row until three in a row are well; hours of no knowledge do not count."""
    rows, length = wrong.shape
    stands, bad, good = np.zeros(rows, bool), np.zeros(rows, int), np.zeros(rows, int)
    found = np.zeros(wrong.shape, bool)
    for hour in range(length):
        bad = np.where(wrong[:, hour], bad + 1, np.where(well[:, hour], 0, bad))
        good = np.where(well[:, hour], good + 1, np.where(wrong[:, hour], 0, good))
        stands = (stands | (bad >= least)) & ~(good >= _WELL_HOURS)
        found[:, hour] = stands
    return found
